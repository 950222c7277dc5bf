// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/problems"
	"github.com/lkl-nomad/nomad-driver-lkl/network"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
)

// An InterfaceConfig is the block of a task for one net device of its guest.
type InterfaceConfig struct {
	Name string `codec:"name"` // of the alloc's interface, or nowhere
}

// nowhere is the name of the interface of a device that leads nowhere.
const nowhere = "none"

// validateInterfaces reports mistakes in the interface blocks that need no kernel.
func (t *TaskConfig) validateInterfaces(list *problems.List) {
	used := map[string]string{}
	for _, device := range slices.Sorted(maps.Keys(t.Interfaces)) {
		field, name := interfaceField(device), t.Interfaces[device].Name
		switch other, taken := used[name]; {
		case name == "":
			list.Addf(field+".name", "is empty: set it to the name of an interface of the group's network, or to %q", nowhere)
		case strings.ContainsAny(name, "/ \t\n\x00") || len(name) > 15: // IFNAMSIZ without the NUL
			list.Addf(field+".name", "%q is not the name of an interface", name)
		case name == "lo":
			list.Addf(field+".name", "%q cannot be the interface of a guest: use one that leads out of the group, such as %q", name, "eth0")
		case taken && name != nowhere:
			list.Addf(field+".name", "%q is already the interface of the device %q: each interface can belong to one device only", name, other)
		}
		used[name] = device
	}
}

func interfaceField(device string) string { return "interface." + device }

// checkInterfaces compares the interface blocks with the manifest's net devices.
func (k kernelInfo) checkInterfaces(list *problems.List, j job) {
	devices := k.devices(unikernel.Net)
	mode := j.config.mode(j.task)
	if mode != modeNone && len(devices) > 0 && len(j.config.Ports) > 0 && j.config.leadsNowhere(devices) {
		list.Addf("ports", "cannot be reached, because the interface blocks connect no net device: remove ports, or connect a device")
	}
	for _, device := range slices.Sorted(maps.Keys(j.config.Interfaces)) {
		field, name := interfaceField(device), j.config.Interfaces[device].Name
		switch {
		case device == unikernel.DeviceControl && len(k.elf.Manifest) > 0:
			list.Addf(field, "the device %q is for signals, and has no interface: remove the block", device)
		case len(devices) == 0:
			list.Addf(field, "cannot be used with this kernel, which declares no net device")
		case !slices.Contains(devices, device):
			list.Addf(field, "is not a net device of the kernel, which declares %s", strings.Join(devices, ", "))
		case mode == modeHost && name != nowhere:
			list.Addf(field, "%q needs a network namespace: add network { mode = \"cni/NAME\" } to the group, or use name = %q", name, nowhere)
		}
	}
}

// leadsNowhere reports whether the interface blocks connect none of the net devices.
func (t *TaskConfig) leadsNowhere(devices []string) bool {
	for i, device := range devices {
		if t.interfaceOf(device, i == 0) != nowhere {
			return false
		}
	}
	return true
}

// interfaceOf returns the name of the interface to which a device leads: nowhere, or "" for
// the interface of the default route.
func (t *TaskConfig) interfaceOf(device string, first bool) string {
	block, exists := t.Interfaces[device]
	switch {
	case exists:
		return block.Name
	case first:
		return ""
	}
	return nowhere
}

// planNetwork decides how to connect the net devices of a guest. The result has no taps.
func planNetwork(j job, k *kernel) (netDevices, error) {
	mode := j.config.mode(j.task)
	var plan netDevices
	var list problems.List
	for i, name := range k.devices(unikernel.Net) {
		if mode == modeShared && plan.shared() != nil {
			mode = modeL2 // a guest has one range of ports for its connections, on one interface
		}
		device := netDevice{link: link{Device: name, Mode: mode}}
		if err := device.plan(&list, j, i == 0); err != nil {
			return nil, err
		}
		plan = append(plan, device)
	}
	plan.checkInterfaces(&list)
	if err := taskConfigError(&list); err != nil {
		return nil, err
	}
	if plan.shared() != nil {
		if err := j.config.checkSharedSysctls(); err != nil {
			return nil, err
		}
	}
	return plan, nil
}

// plan decides how to connect a net device, whose mode is that of the task's devices.
func (d *netDevice) plan(list *problems.List, j job, first bool) error {
	wanted := j.config.interfaceOf(d.link.Device, first)
	if wanted == nowhere || d.link.Mode == modeNone {
		d.link.Mode = modeNone
		return nil
	}
	if d.link.Mode == modeHost {
		return nil // the network package chooses the addresses
	}
	d.link.Netns = netnsOf(j.task)
	found, err := network.Inspect(d.link.Netns, wanted)
	switch {
	case errors.Is(err, network.ErrOnlyLoopback) && wanted == "":
		d.link.Mode, d.link.Netns = modeNone, ""
		if len(j.config.Ports) > 0 {
			list.Addf("ports", "cannot be reached, because the group's network has no interface but lo: remove ports, or use another network mode")
		}
		return nil
	case errors.Is(err, network.ErrNoInterface) && wanted != "":
		list.Addf(interfaceField(d.link.Device)+".name", "%w", err)
		return nil
	case err != nil:
		return err
	}
	d.link.Interface, d.mtu = found.Name, found.MTU
	d.setAddresses(addressesOf(found))
	return nil
}

// checkInterfaces reports interfaces to which several devices lead. Blocks with different
// names can mean the same interface, and a device without a block has one, too.
func (all netDevices) checkInterfaces(list *problems.List) {
	owners := map[string]string{}
	for _, d := range all.connected() {
		name := d.link.Interface
		if name == "" {
			continue // unknown: in host mode, or a mistake
		}
		if owner, taken := owners[name]; taken {
			list.Addf(interfaceField(d.link.Device)+".name", "%q is already the interface of the device %q: "+
				"add a block interface %q with another name, or with name = %q", name, owner, owner, nowhere)
		}
		owners[name] = d.link.Device
	}
}

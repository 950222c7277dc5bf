// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lkl-nomad/nomad-driver-lkl/network"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
)

// A netDevice is a net device of a guest with its tap.
type netDevice struct {
	link      link
	tap       *network.Tap
	addresses addresses // the zero value if the device leads nowhere
	mtu       int       // of the interface, in bytes; 0 without one
}

// netDevices are a guest's net devices, in the order of its manifest. The control device is
// not among them.
type netDevices []netDevice

// Close closes the plugin's descriptors of the taps. The executor has its own.
func (all netDevices) Close() {
	for _, d := range all {
		if d.tap != nil {
			_ = d.tap.Close()
		}
	}
}

// device returns the device of a name in the manifest, which must exist.
func (all netDevices) device(name string) netDevice {
	for _, d := range all {
		if d.link.Device == name {
			return d
		}
	}
	return netDevice{}
}

// connected returns the devices that lead somewhere.
func (all netDevices) connected() []netDevice {
	var found []netDevice
	for _, d := range all {
		if d.link.Mode != modeNone {
			found = append(found, d)
		}
	}
	return found
}

// addresses returns the addresses of the first device that leads somewhere. They are those
// of the task.
func (all netDevices) addresses() addresses {
	for _, d := range all.connected() {
		return d.addresses
	}
	return addresses{}
}

// shared returns the first device in shared mode, or nil.
func (all netDevices) shared() *netDevice {
	for i := range all {
		if all[i].link.Mode == modeShared {
			return &all[i]
		}
	}
	return nil
}

func (all netDevices) links() []link {
	var links []link
	for _, d := range all {
		links = append(links, d.link)
	}
	return links
}

// setAddresses sets the addresses of a device.
func (d *netDevice) setAddresses(a addresses) {
	d.addresses = a
	d.link.IP, d.link.IPv6 = a.ipv4(), a.ipv6()
}

// connect creates the taps of a guest. The caller closes the result.
func (d *Driver) connect(ctx context.Context, j job, dir taskDir, k *kernel, undo *undo) (netDevices, error) {
	plan, err := planNetwork(j, k)
	if err != nil || len(plan) == 0 {
		return nil, err
	}
	if err := d.tasks.claim(j.task, claimOf(j, plan.links())); err != nil {
		return nil, err
	}
	if err := dir.recordLinks(plan.links()); err != nil {
		return nil, retryable(err)
	}
	undo.add(func() error { return removeLinks(plan.links()) })
	err = d.attachAll(ctx, j, k, plan)
	if errors.Is(err, network.ErrNoSharing) && j.config.choosesMode() {
		err = d.attachAlone(ctx, j, k, plan, err)
	}
	if err == nil {
		err = retryable(dir.recordLinks(plan.links()))
	}
	if err != nil {
		plan.Close()
		return nil, err
	}
	return plan, nil
}

// attachAll creates the taps that do not exist yet.
func (d *Driver) attachAll(ctx context.Context, j job, k *kernel, plan netDevices) error {
	for i := range plan {
		if plan[i].tap != nil {
			continue
		}
		if err := d.attach(ctx, j, k, &plan[i]); err != nil {
			return err
		}
	}
	return nil
}

// attachAlone attaches the devices of a guest in mode l2 instead of shared. The reason says
// why the host cannot share the network.
func (d *Driver) attachAlone(ctx context.Context, j job, k *kernel, plan netDevices, reason error) error {
	for i := range plan {
		if plan[i].link.Mode == modeShared {
			plan[i].link.Mode = modeL2
		}
	}
	if err := d.tasks.claim(j.task, claimOf(j, plan.links())); err != nil {
		return err
	}
	d.events.emit(j.task, "The guest takes the group's network over, because this host cannot share it: "+reason.Error(), nil)
	return d.attachAll(ctx, j, k, plan)
}

// recordLinks adds the links of a guest to the record in the task's directory.
func (t taskDir) recordLinks(links []link) error {
	r := t.record
	r.Links = links
	return r.update(t.path)
}

// attach creates the tap of a device.
func (d *Driver) attach(ctx context.Context, j job, k *kernel, device *netDevice) (err error) {
	options, l := d.tapOptions(j, k, device.link), &device.link
	switch l.Mode {
	case modeNone:
		device.tap, err = network.AttachNowhere(options)
	case modeHost:
		err = d.attachHost(j, options, device)
	case modeShared:
		share := sharing(j, k)
		device.tap, err = awaitInterface(ctx, func() (*network.Tap, error) { return network.AttachShared(l.Netns, options, share) })
	case modeL2:
		device.tap, err = awaitInterface(ctx, func() (*network.Tap, error) { return network.AttachL2(l.Netns, options) })
	}
	if err != nil {
		return fmt.Errorf("device %q: %w", l.Device, err)
	}
	for _, warning := range device.tap.Warnings {
		d.events.emit(j.task, fmt.Sprintf("Network: the device %s: %s", l.Device, warning), nil)
	}
	l.Tap, l.MAC = device.tap.Name, device.tap.MAC.String()
	return nil
}

// attachHost creates the tap of a device in host mode.
func (d *Driver) attachHost(j job, options network.Options, device *netDevice) error {
	ports, err := j.portClaim().hostPorts(groupPorts(j.task))
	if err != nil {
		return err
	}
	h := d.config.HostNetwork.options()
	h.Ports = ports
	tap, found, err := network.AttachHost(options, h)
	if err != nil {
		return err
	}
	device.tap = tap
	device.setAddresses(addressesOf(found))
	return nil
}

// sharing returns the packets that are for a guest in shared mode. Only a guest with Linux
// has a setting for the range of ports of its connections. Another one gets every port that
// no neighbor uses.
func sharing(j job, k *kernel) network.Sharing {
	s := j.portClaim().sharing()
	s.AnyPort = k.flavor != unikernel.FlavorLKL
	s.LoopbackTarget = k.flavor == unikernel.FlavorLKL
	return s
}

// tapOptions returns the properties of a guest's tap.
func (d *Driver) tapOptions(j job, k *kernel, l link) network.Options {
	return network.Options{
		Interface: l.Interface,
		Offload:   k.supports(unikernel.FeatureOffload), AllowSpoofing: d.config.AllowSpoofing,
		BlockMetadata: d.config.blocksMetadata(l.Mode), MaxMTU: k.maxMTU(),
		Bandwidth: j.config.bandwidth(),
	}
}

const (
	// takenTimeout limits how long a start waits for the alloc's interface.
	takenTimeout = 5 * time.Second
	takenPause   = 20 * time.Millisecond
)

// awaitInterface repeats attach while another guest has taken the interface over. When a
// plugin dies during a start, its executor ends by itself, which takes milliseconds.
// The next plugin cannot know the executor's process yet. It must wait here, because
// Nomad does not repeat a start that fails right after the death of a plugin.
func awaitInterface(ctx context.Context, attach func() (*network.Tap, error)) (*network.Tap, error) {
	ctx, cancel := context.WithTimeout(ctx, takenTimeout)
	defer cancel()
	for {
		tap, err := attach()
		if !errors.Is(err, network.ErrTaken) {
			return tap, err
		}
		select {
		case <-time.After(takenPause):
		case <-ctx.Done():
			return nil, err
		}
	}
}

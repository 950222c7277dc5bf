// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/problems"
	"github.com/lkl-nomad/nomad-driver-lkl/tender"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
)

// attach opens the files of the devices: those of the manifest, and then the others
// in the order of their names. After an error, the guest still owns the files that
// are open.
func (o *runOptions) attach(g *tender.Guest) error {
	if err := o.checkDevices(g.Info); err != nil {
		return err
	}
	for _, device := range slices.Concat(g.Info.Manifest, o.undeclared(g.Info)) {
		d := tender.Device{Name: device.Name, Type: device.Type}
		open := o.attachDisk
		if d.Type == unikernel.Net {
			open = o.attachNet
		}
		err := open(&d)
		g.Devices = append(g.Devices, d)
		if err != nil {
			return err
		}
	}
	return nil
}

// undeclared returns the attached devices that the manifest lacks.
func (o *runOptions) undeclared(info *unikernel.Info) []unikernel.Device {
	var devices []unikernel.Device
	add := func(t unikernel.DeviceType, names []string) {
		for _, name := range names {
			if _, declared := info.Device(name); !declared {
				devices = append(devices, unikernel.Device{Name: name, Type: t})
			}
		}
	}
	add(unikernel.Block, keys(o.disks))
	add(unikernel.Net, keys(o.interfaces))
	return devices
}

// checkDevices compares the options with the manifest: every option must name a
// device of its type, and every device must have a file. A guest with the feature
// devices also has the devices that only --block and --net name.
func (o *runOptions) checkDevices(info *unikernel.Info) error {
	var mistakes problems.List
	known := slices.Clone(info.Manifest)
	if info.Features.Has(unikernel.FeatureDevices) {
		known = append(known, o.undeclared(info)...)
	}
	checkType := func(want unikernel.DeviceType, names ...string) {
		for _, name := range names {
			if !slices.Contains(known, unikernel.Device{Name: name, Type: want}) {
				mistakes.Addf("", "resource not declared in manifest: '%s' (as a %s device)", name, want)
			}
		}
	}
	checkType(unikernel.Net, slices.Concat(keys(o.interfaces), keys(o.macs), keys(o.offloads))...)
	checkType(unikernel.Block, slices.Concat(
		keys(o.disks), keys(o.blockSizes), keys(o.transfers), keys(o.flushes), keys(o.writeThrough))...)
	o.checkFeatures(info, &mistakes)
	missing := false
	for _, d := range info.Manifest {
		_, isDisk := o.disks[d.Name]
		_, isNet := o.interfaces[d.Name]
		if isDisk || isNet {
			continue
		}
		missing = true
		mistakes.Addf("", "device '%s' of type %s declared but not attached", d.Name, d.Type)
	}
	if missing {
		mistakes.Addf("", "all declared devices must be attached: see --help for syntax")
	}
	return errors.Join(mistakes.Errs()...) // fail prints each on its own line
}

// checkFeatures finds options for features that the guest does not support. It
// accepts all options for a guest that does not list its features.
func (o *runOptions) checkFeatures(info *unikernel.Info, mistakes *problems.List) {
	if info.Features == 0 {
		return
	}
	for _, c := range []struct {
		option  string
		devices []string
		feature unikernel.Features
	}{
		{"net-offload", keys(o.offloads), unikernel.FeatureOffload},
		{"block-transfer", keys(o.transfers), unikernel.FeatureTransfer},
		{"block-flush", keys(o.flushes), unikernel.FeatureFlush},
	} {
		if len(c.devices) > 0 && !info.Features.Has(c.feature) {
			mistakes.Addf("--"+c.option+":"+c.devices[0], "the guest does not support the feature %s", c.feature)
		}
	}
}

// keys returns the keys of a map in order.
func keys[V any](m map[string]V) []string {
	return slices.Sorted(maps.Keys(m))
}

func (o *runOptions) attachNet(d *tender.Device) (err error) {
	d.File, d.MTU, err = openInterface(o.interfaces[d.Name], o.offloads[d.Name])
	if err != nil {
		return fmt.Errorf("could not attach interface: %w", err)
	}
	mac, ok := o.macs[d.Name]
	if !ok {
		mac, err = randomMAC()
	}
	d.MAC = mac
	return err
}

// randomMAC returns a random MAC address: unicast, and locally administered
// (IEEE 802).
func randomMAC() (mac [6]byte, err error) {
	if _, err := rand.Read(mac[:]); err != nil {
		return mac, fmt.Errorf("generate a MAC address: %w", err)
	}
	mac[0] = mac[0]&^1 | 2
	return mac, nil
}

func (o *runOptions) attachDisk(d *tender.Device) (err error) {
	path := o.disks[d.Name]
	flags := os.O_RDWR
	if o.writeThrough[d.Name] {
		flags |= unix.O_DSYNC
	}
	if d.File, err = os.OpenFile(path, flags, 0); err != nil {
		return fmt.Errorf("could not open block device: %w", err)
	}
	size, err := d.File.Seek(0, io.SeekEnd)
	if err != nil {
		return fmt.Errorf("%s: Could not determine capacity: %w", path, err)
	}
	d.Capacity, d.BlockSize = uint64(size), o.blockSizes[d.Name]
	d.MaxTransfer, d.Flush = o.transfers[d.Name], o.flushes[d.Name]
	if d.BlockSize == 0 {
		d.BlockSize = tender.MinBlockSize
	}
	if d.Capacity%uint64(d.BlockSize) != 0 {
		return fmt.Errorf("%s: Backing storage size must be block aligned (%d bytes), but %s has %d bytes",
			d.Name, d.BlockSize, path, d.Capacity)
	}
	if d.Capacity == 0 {
		return fmt.Errorf("%s: Backing storage must be at least 1 block (%d bytes) in size, but %s is empty",
			d.Name, d.BlockSize, path)
	}
	return nil
}

// SPDX-License-Identifier: MPL-2.0

package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/tender"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
)

// attach opens what the options name for the devices of the manifest. The
// guest has the files opened so far even when it fails.
func (o *runOptions) attach(g *tender.Guest) error {
	if err := o.checkNames(g.Info); err != nil {
		return err
	}
	for _, declared := range g.Info.Manifest {
		d := tender.Device{Name: declared.Name, Type: declared.Type}
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

// checkNames finds every device that is missing and every option that is for
// no device.
func (o *runOptions) checkNames(m *unikernel.Info) error {
	var mistakes []error
	named := func(name string, t unikernel.DeviceType) {
		if d, ok := m.Device(name); !ok || d.Type != t {
			mistakes = append(mistakes, fmt.Errorf("resource not declared in manifest: '%s' (as a %s device)", name, t))
		}
	}
	for _, names := range [][]string{keys(o.interfaces), keys(o.macs), keys(o.offloads)} {
		for _, name := range names {
			named(name, unikernel.Net)
		}
	}
	for _, names := range [][]string{
		keys(o.disks), keys(o.blockSizes), keys(o.transfers), keys(o.flushes), keys(o.writeThrough),
	} {
		for _, name := range names {
			named(name, unikernel.Block)
		}
	}
	mistakes = append(mistakes, o.checkFeatures(m)...)
	missing := false
	for _, d := range m.Manifest {
		_, isDisk := o.disks[d.Name]
		_, isNet := o.interfaces[d.Name]
		if isDisk || isNet {
			continue
		}
		missing = true
		mistakes = append(mistakes, fmt.Errorf("device '%s' of type %s declared but not attached", d.Name, d.Type))
	}
	if missing {
		mistakes = append(mistakes, errors.New("all declared devices must be attached: see --help for syntax"))
	}
	return errors.Join(mistakes...)
}

// checkFeatures finds the options that a guest which says what it understands
// does not: it would take what it is given for something else, or not use it.
func (o *runOptions) checkFeatures(m *unikernel.Info) []error {
	if m.Features == 0 { // it does not say
		return nil
	}
	var mistakes []error
	for _, c := range []struct {
		option  string
		names   []string
		feature unikernel.Features
	}{
		{"net-offload", keys(o.offloads), unikernel.FeatureOffload},
		{"block-transfer", keys(o.transfers), unikernel.FeatureTransfer},
		{"block-flush", keys(o.flushes), unikernel.FeatureFlush},
	} {
		if len(c.names) > 0 && !m.Features.Has(c.feature) {
			mistakes = append(mistakes, fmt.Errorf("--%s:%s: the guest understands no %s", c.option, c.names[0], c.feature))
		}
	}
	return mistakes
}

func keys[V any](m map[string]V) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (o *runOptions) attachNet(d *tender.Device) (err error) {
	d.File, d.MTU, err = openInterface(o.interfaces[d.Name], o.offloads[d.Name])
	if err != nil {
		return fmt.Errorf("could not attach interface: %s: %w", o.interfaces[d.Name], err)
	}
	mac, ok := o.macs[d.Name]
	if !ok {
		mac, err = randomMAC()
	}
	d.MAC = mac
	return err
}

// randomMAC is an address of one station, locally administered (IEEE 802).
func randomMAC() (mac [6]byte, err error) {
	if _, err := rand.Read(mac[:]); err != nil {
		return mac, fmt.Errorf("making a MAC address: %w", err)
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
		return fmt.Errorf("%s: Backing storage size must be block aligned (%d bytes)", d.Name, d.BlockSize)
	}
	if d.Capacity == 0 {
		return fmt.Errorf("%s: Backing storage must be at least 1 block (%d bytes) in size", d.Name, d.BlockSize)
	}
	return nil
}

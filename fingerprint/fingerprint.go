// SPDX-License-Identifier: MPL-2.0

// Package fingerprint finds out what this host can run, and tells Nomad when
// it changes.
//
// What a probe touches is passed in (Host), so that every outcome is a plain
// unit test; This returns the real ones.
package fingerprint

import (
	"context"
	"fmt"
	"strings"

	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/hashicorp/nomad/plugins/shared/structs"
)

// ABIs are the versions of Solo5's binary interface that the driver runs.
const ABIs = "1,2"

// A Host is the probes: each tries one thing for real and returns what is
// wrong, in words that tell the operator what to do.
type Host struct {
	// Supported is an error where no unikernel can ever run: another
	// processor, no root.
	Supported func() error
	// Executor is an error if the per-task program is not in place.
	Executor func() error
	// SPT runs a guest of a few instructions under the spt tender.
	SPT func(context.Context) error
	// VM creates a KVM machine.
	VM func() error
	// Tap opens the tap device.
	Tap func() error
	// Ext4 looks for the tools that make root disks.
	Ext4 func() error
	// Cgroup is the version of the host's control groups, "v1" or "v2".
	Cgroup func() (string, error)
}

// Read makes every probe once. The driver is undetected where it can never
// run, unhealthy while no guest can start, and healthy otherwise; what only
// some jobs need is in the attributes and named in the description.
func Read(ctx context.Context, version string, host Host) *drivers.Fingerprint {
	if err := host.Supported(); err != nil {
		return &drivers.Fingerprint{
			Health:            drivers.HealthStateUndetected,
			HealthDescription: err.Error(),
		}
	}
	spt, vm, tap, ext4 := host.SPT(ctx), host.VM(), host.Tap(), host.Ext4()
	cgroup, noCgroup := host.Cgroup()
	f := &drivers.Fingerprint{
		Attributes: map[string]*structs.Attribute{
			"driver.lkl":         structs.NewBoolAttribute(true),
			"driver.lkl.version": structs.NewStringAttribute(version),
			"driver.lkl.abi":     structs.NewStringAttribute(ABIs),
			"driver.lkl.spt":     structs.NewBoolAttribute(spt == nil),
			// This build has no hvt tender; driver.lkl.kvm tells what the
			// host could do with one.
			"driver.lkl.hvt":  structs.NewBoolAttribute(false),
			"driver.lkl.kvm":  structs.NewBoolAttribute(vm == nil),
			"driver.lkl.tap":  structs.NewBoolAttribute(tap == nil),
			"driver.lkl.ext4": structs.NewBoolAttribute(ext4 == nil),
		},
	}
	if noCgroup == nil {
		f.Attributes["driver.lkl.cgroup"] = structs.NewStringAttribute(cgroup)
	}

	var broken []string
	for _, fault := range []struct {
		what string
		err  error
	}{
		{"the executor is not in place", host.Executor()},
		{"the spt tender cannot run a guest", spt},
		{"tasks cannot be limited", noCgroup},
	} {
		if fault.err != nil {
			broken = append(broken, fmt.Sprintf("%s: %v", fault.what, fault.err))
		}
	}
	if len(broken) > 0 {
		f.Health = drivers.HealthStateUnhealthy
		f.HealthDescription = strings.Join(broken, "; ")
		return f
	}
	f.Health = drivers.HealthStateHealthy
	f.HealthDescription = healthy(tap, ext4)
	return f
}

// healthy names what only some jobs will miss.
func healthy(tap, ext4 error) string {
	lines := []string{drivers.DriverHealthy}
	if tap != nil {
		lines = append(lines, fmt.Sprintf("but no guest with a network can run: %v", tap))
	}
	if ext4 != nil {
		lines = append(lines, fmt.Sprintf("but no guest with a rootfs can run: %v", ext4))
	}
	return strings.Join(lines, "; ")
}

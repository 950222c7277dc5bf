// SPDX-License-Identifier: MPL-2.0

// Package fingerprint reports to Nomad which guests this host can run, and when that
// changes.
//
// The probes are those of package hostcheck. This package translates their results.
package fingerprint

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/hashicorp/nomad/plugins/shared/structs"

	"github.com/lkl-nomad/nomad-driver-lkl/hostcheck"
)

// ABIs lists the versions of Solo5's binary interface that the driver runs.
const ABIs = "1,2"

// Read runs every probe once. The driver is undetected where it can never run, and
// unhealthy while no guest can start. Facilities that only some jobs need do not affect
// its health; attributes and the description report them.
func Read(ctx context.Context, version string, host hostcheck.Host) *drivers.Fingerprint {
	if err := host.Supported(); err != nil {
		return &drivers.Fingerprint{
			Health:            drivers.HealthStateUndetected,
			HealthDescription: err.Error(),
		}
	}
	sptErr, kvmErr, tapErr, ext4Err := host.SPT(ctx), host.KVM(), host.Tap(), host.Ext4()
	landlockErr, sharingErr, hostErr := host.Landlock(), host.Sharing(), host.HostNetwork()
	cgroupVersion, cgroupErr := host.Cgroup()
	f := &drivers.Fingerprint{
		Attributes: map[string]*structs.Attribute{
			"driver.lkl":          structs.NewBoolAttribute(true),
			"driver.lkl.version":  structs.NewStringAttribute(version),
			"driver.lkl.abi":      structs.NewStringAttribute(ABIs),
			"driver.lkl.spt":      structs.NewBoolAttribute(sptErr == nil),
			"driver.lkl.kvm":      structs.NewBoolAttribute(kvmErr == nil),
			"driver.lkl.tap":      structs.NewBoolAttribute(tapErr == nil),
			"driver.lkl.ext4":     structs.NewBoolAttribute(ext4Err == nil),
			"driver.lkl.landlock": structs.NewBoolAttribute(landlockErr == nil),
			"driver.lkl.shared":   structs.NewBoolAttribute(sharingErr == nil),

			"driver.lkl.host_network": structs.NewBoolAttribute(hostErr == nil),
		},
	}
	if cgroupErr == nil {
		f.Attributes["driver.lkl.cgroup"] = structs.NewStringAttribute(cgroupVersion)
	}

	if faults := describeFaults([]fault{
		{"the state directory cannot be used", host.StateDir()},
		{"the executor is not installed", host.Executor()},
		{"the spt tender cannot run a guest", sptErr},
		{"tasks cannot be limited", cgroupErr},
	}); faults != "" {
		f.Health, f.HealthDescription = drivers.HealthStateUnhealthy, faults
		return f
	}
	f.Health = drivers.HealthStateHealthy
	f.HealthDescription = describeHealthy(tapErr, sharingErr, hostErr, ext4Err, landlockErr)
	return f
}

// A fault is the result of a probe.
type fault struct {
	name string
	err  error // nil if the probe succeeded
}

// describeFaults returns "" if all probes succeeded.
func describeFaults(all []fault) string {
	var parts []string
	for _, f := range all {
		if f.err != nil {
			parts = append(parts, fmt.Sprintf("%s: %v", f.name, f.err))
		}
	}
	return strings.Join(parts, "; ")
}

// describeHealthy adds the facilities that are missing for some jobs, or for a second line
// of defense. Without taps no guest has a network, so the modes are not named.
func describeHealthy(tapErr, sharingErr, hostErr, ext4Err, landlockErr error) string {
	if tapErr != nil {
		sharingErr, hostErr = nil, nil
	}
	if errors.Is(hostErr, hostcheck.ErrForbidden) {
		hostErr = nil
	}
	missing := describeFaults([]fault{
		{"guests with a network cannot run", tapErr},
		{"guests cannot share a network with other tasks", sharingErr},
		{"guests cannot use the host's network", hostErr},
		{"guests with a rootfs cannot run", ext4Err},
		{"the driver's helper processes are confined less", landlockErr},
	})
	if missing == "" {
		return drivers.DriverHealthy
	}
	return drivers.DriverHealthy + "; " + missing
}

// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"maps"
	"slices"
	"strings"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/problems"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel/lkl"
)

const (
	// sysctlPortStart is the first port on which a program that is not root can listen.
	sysctlPortStart = "net.ipv4.ip_unprivileged_port_start"
	// sysctlPortRange has the ports for connections that the guest opens, except for
	// those in sysctlReserved.
	sysctlPortRange = "net.ipv4.ip_local_port_range"
	sysctlReserved  = "net.ipv4.ip_local_reserved_ports"
	// sysctlLocalnet lets packets to 127.0.0.1 arrive at an interface.
	sysctlLocalnet = "net.ipv4.conf.all.route_localnet"
)

// sharedSysctls are the kernel parameters that a guest in shared mode needs, so a job cannot
// set them.
var sharedSysctls = []string{
	sysctlLocalnet, sysctlPortRange, sysctlReserved,
}

// checkSharedSysctls reports parameters among sharedSysctls that a job sets. The guest takes
// slashes for dots.
func (t *TaskConfig) checkSharedSysctls() error {
	var list problems.List
	for _, name := range slices.Sorted(maps.Keys(t.sysctls())) {
		if slices.Contains(sharedSysctls, strings.ReplaceAll(name, "/", ".")) {
			list.Addf("sysctl", "%s is set by the driver in the network mode %s: remove it, or set network_mode = %q",
				name, modeShared, modeL2)
		}
	}
	return taskConfigError(&list)
}

// addDefaultSysctls adds the parameters that all guests have unless the job sets them. As in
// docker, a program without privileges can serve port 80: no other task uses the guest's ports. A
// legacy LKL guest reads few settings, so the job's come first there.
func (g guest) addDefaultSysctls(c *lkl.Config) {
	if _, set := c.Sysctl[sysctlPortStart]; set {
		return
	}
	c.Sysctl[sysctlPortStart] = "0"
	if !g.kernel.supports(unikernel.FeatureConfig) && c.SysctlLength() > lkl.MaxLegacySysctl {
		delete(c.Sysctl, sysctlPortStart)
	}
}

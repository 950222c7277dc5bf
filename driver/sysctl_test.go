// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/shoenig/test/must"
	"github.com/vishvananda/netlink"

	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel/lkl"
)

func TestLinux_ProgramWithoutPrivilegesServesPort80(t *testing.T) {
	p := newTestPlugin(t)
	n := newTestNetwork(t)
	task := p.linuxIn(t, n, "listen.c", TaskConfig{})
	task.User = "1000:100"
	p.startLinux(t, task)
	within(t, n.peer, func(*netlink.Handle) {
		conn, err := net.DialTimeout("tcp", net.JoinHostPort(allocIP, "80"), time.Minute)
		must.NoError(t, err)
		defer conn.Close()
		answer, err := io.ReadAll(conn)
		must.NoError(t, err)
		must.Eq(t, "uid 1000\n", string(answer))
	})
}

func TestLinux_JobKeepsLowPortsForRoot(t *testing.T) {
	p := newTestPlugin(t)
	task := p.linux(t, "listen.c", TaskConfig{Sysctl: []map[string]string{{sysctlPortStart: "81"}}})
	task.User = "1000:100"
	_, _, err := p.StartTask(task)
	must.NoError(t, err)
	must.Eq(t, 1, p.wait(t, task).ExitCode)
	waitFor(t, "the program's error", func() bool { return errorsOf(task) == "port 80: Permission denied\n" })
}

func TestSysctl_Defaults(t *testing.T) {
	guests := map[bool]guest{
		true:  {kernel: &kernel{kernelInfo: kernelInfo{elf: &unikernel.Info{}, flavor: unikernel.FlavorLKL}}},
		false: {kernel: &kernel{kernelInfo: kernelInfo{elf: &unikernel.Info{Features: unikernel.FeatureConfig}, flavor: unikernel.FlavorLKL}}},
	}
	for legacy, g := range guests {
		c := &lkl.Config{Sysctl: map[string]string{"vm.swappiness": "0"}}
		g.addDefaultSysctls(c)
		must.Eq(t, map[string]string{"vm.swappiness": "0", sysctlPortStart: "0"}, c.Sysctl)
		c = &lkl.Config{Sysctl: map[string]string{sysctlPortStart: "1024"}}
		g.addDefaultSysctls(c)
		must.Eq(t, map[string]string{sysctlPortStart: "1024"}, c.Sysctl)
		c = &lkl.Config{Sysctl: map[string]string{"long": strings.Repeat("x", 230)}}
		g.addDefaultSysctls(c)
		_, set := c.Sysctl[sysctlPortStart]
		must.Eq(t, !legacy, set)
	}
}

func TestSysctl_RefusesThoseOfSharedMode(t *testing.T) {
	c := TaskConfig{Sysctl: []map[string]string{
		{"net.ipv4.ip_local_port_range": "1 2", "net.core.somaxconn": "4096"}, {"net/ipv4/conf/all/route_localnet": "0"},
	}}
	err := c.checkSharedSysctls()
	must.ErrorContains(t, err, "net.ipv4.ip_local_port_range")
	must.ErrorContains(t, err, "net/ipv4/conf/all/route_localnet")
	must.StrNotContains(t, err.Error(), "somaxconn")
	must.NoError(t, (&TaskConfig{Sysctl: []map[string]string{{"net.core.somaxconn": "1"}}}).checkSharedSysctls())
}

// SPDX-License-Identifier: MPL-2.0

package hostcheck

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"regexp"
	"strings"

	"github.com/lkl-nomad/nomad-driver-lkl/network"
)

func checkTun(context.Context) Finding {
	err := openTap()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return failed("modprobe tun && echo tun > /etc/modules-load.d/tun.conf", "guests with a network cannot run: %v", err)
	case errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0:
		return skipped("needs root")
	case err != nil:
		return failed("", "guests with a network cannot run: %v", err)
	}
	return ok("/dev/net/tun supports taps")
}

// checkConnection connects a tap as the driver does, in a network namespace that exists
// only during the check.
func checkConnection(context.Context) Finding {
	if openTap() != nil {
		return skipped("without /dev/net/tun")
	}
	err := network.CheckHost(network.Options{Offload: true})
	fix := ""
	switch {
	case err == nil:
		return ok("the kernel redirects, filters and checks the frames of a guest")
	case errors.Is(err, network.ErrNoRedirect):
		fix = "modprobe -a sch_ingress cls_u32 act_mirred"
	case errors.Is(err, network.ErrNoFilter):
		fix = "modprobe cls_bpf"
	case errors.Is(err, network.ErrNoChecksumCheck):
		fix = "apt-get install linux-image-amd64 && reboot"
	}
	return failed(fix, "guests with a network cannot run: %v", err)
}

// checkSharing shares a tap between a guest and a namespace's stack, in a network namespace
// that exists only during the check.
func checkSharing(context.Context) Finding {
	if openTap() != nil {
		return skipped("without /dev/net/tun")
	}
	if err := network.CheckSharing(network.Options{Offload: true}); err != nil {
		return warning("apt-get install linux-image-amd64 && reboot",
			"guests cannot share a network with other tasks of their group: %v", err)
	}
	return ok("guests can share a network with other tasks of their group")
}

// checkTranslation connects a guest in host mode, in a network namespace that exists only
// during the check.
func checkTranslation(context.Context) Finding {
	if openTap() != nil {
		return skipped("without /dev/net/tun")
	}
	if err := network.CheckTranslation(network.Options{Offload: true}); err != nil {
		return warning("modprobe -a nf_tables nft_nat nft_masq nft_ct nft_fib_inet",
			"guests cannot use the host's network: %v", err)
	}
	return ok("guests can use the host's network")
}

var iptablesVersion = regexp.MustCompile(`^iptables v([0-9.]+)(?: \((\w+)\))?`)

// checkIPTables reports the version of iptables and its backend. It lists no rule, because
// that would load modules of the kernel.
func checkIPTables(ctx context.Context) Finding {
	const install = "apt-get install iptables"
	path, err := findTool("iptables")
	if err != nil {
		return warning(install, "not found: bridge networks and port mapping of Nomad do not work")
	}
	cmd := exec.CommandContext(ctx, path, "--version")
	cmd.WaitDelay = waitDelay
	output, err := cmd.Output()
	version := iptablesVersion.FindSubmatch(output)
	if version == nil {
		return warning(install, "%s --version: %s, %v", path, firstLine(output), err)
	}
	backend := string(version[2])
	if tables, err := os.ReadFile("/proc/net/ip_tables_names"); err == nil && len(tables) > 0 && backend == "nf_tables" {
		return warning("update-alternatives --set iptables /usr/sbin/iptables-legacy",
			"%s %s uses %s, but another program has rules in legacy tables (%s): the rules of both apply",
			path, version[1], backend, strings.Join(strings.Fields(string(tables)), ", "))
	}
	return ok("%s, %s", version[1], backend)
}

// checkForwarding reports the kernel's settings that bridge networks need.
func checkForwarding(context.Context) Finding {
	const forward, bridge = "/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/bridge/bridge-nf-call-iptables"
	if value, err := os.ReadFile(bridge); err != nil || strings.TrimSpace(string(value)) != "1" {
		return warning("modprobe br_netfilter && echo br_netfilter > /etc/modules-load.d/br_netfilter.conf && "+
			"sysctl -w net.bridge.bridge-nf-call-iptables=1",
			"net.bridge.bridge-nf-call-iptables is not 1: tasks of one bridge do not reach each other by the ports of the host")
	}
	value, err := os.ReadFile(forward)
	switch {
	case err != nil:
		return skipped("%v", err)
	case strings.TrimSpace(string(value)) != "1":
		return info("net.ipv4.ip_forward is 0: the CNI plugin bridge sets it for the first bridge network")
	}
	return ok("net.ipv4.ip_forward and net.bridge.bridge-nf-call-iptables are 1")
}

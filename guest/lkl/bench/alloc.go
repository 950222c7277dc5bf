// SPDX-License-Identifier: MPL-2.0

package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/network"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel/lkl"
)

// An alloc is a network namespace with an address behind a veth, as CNI makes it.
type alloc struct{ namespace, gateway, address string }

// path returns the file of the namespace.
func (a alloc) path() string { return "/run/netns/" + a.namespace }

// addAlloc makes an alloc, whose veth leads to the load generators.
func (b *testbed) addAlloc() (alloc, error) {
	n := len(b.allocNS) + 2
	a := alloc{
		namespace: fmt.Sprintf("%s-%d", b.loadNS, n),
		gateway:   fmt.Sprintf("10.9.%d.1", n), address: fmt.Sprintf("10.9.%d.2", n),
	}
	port := fmt.Sprintf("f%d", n)
	b.allocNS = append(b.allocNS, a.namespace)
	for _, args := range []string{
		"netns add " + a.namespace,
		"-n " + b.loadNS + " link add " + port + " type veth peer name eth0 netns " + a.namespace,
		"-n " + b.loadNS + " addr add " + a.gateway + "/24 dev " + port, "-n " + b.loadNS + " link set " + port + " up",
		"-n " + a.namespace + " addr add " + a.address + "/24 dev eth0", "-n " + a.namespace + " link set eth0 up",
		"-n " + a.namespace + " link set lo up", "-n " + a.namespace + " route add default via " + a.gateway,
	} {
		if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
			return a, fmt.Errorf("ip %s: %w: %s", args, err, out)
		}
	}
	return a, nil
}

// do calls f on a thread in the namespace.
func (a alloc) do(f func() error) error {
	failed := make(chan error)
	go func() {
		runtime.LockOSThread() // the thread ends with the goroutine
		file, err := os.Open(a.path())
		if err == nil {
			err = unix.Setns(int(file.Fd()), unix.CLONE_NEWNET)
			_ = file.Close()
		}
		if err == nil {
			err = f()
		}
		failed <- err
	}()
	return <-failed
}

// A program is a server for a guest. Its root contains the files of a directory.
type program struct {
	kernel, memory, files string
	port                  uint16
	args                  []string
}

// config returns the guest's configuration for the interface of a tap.
func (p program) config(tap *network.Tap, found *network.Interface, shared bool) (string, error) {
	n := lkl.Interface{Name: "tap", Rename: "eth0", MAC: tap.MAC, MTU: tap.MTU, Offload: tap.Offload}
	c := lkl.Config{Gateway: found.Gateway4, Disks: []lkl.Disk{{Name: "rootfs", Transfer: 1 << 20}}}
	for _, address := range found.Addresses {
		if address.Addr().Is4() {
			n.Address = address
		}
	}
	if shared {
		c.Sysctl = map[string]string{"net.ipv4.ip_local_port_range": fmt.Sprintf("%d %d", tap.Ephemeral.First, tap.Ephemeral.Last)}
		c.Neighbors = lkl.Neighbors{
			Loopback: network.NeighborLoopback, Address: network.NeighborAddress, Loopback6: network.NeighborLoopback6,
		}
	}
	c.Interfaces = []lkl.Interface{n}
	return c.Encode(unikernel.FeatureConfig | unikernel.FeatureNetwork)
}

// startOnTap starts a guest with a tap, and waits until it answers at an address.
func (b *testbed) startOnTap(p program, tap *network.Tap, config, address string) error {
	defer func() { _ = tap.Close() }()
	root := filepath.Join(b.dir, fmt.Sprintf("root-%d.ext4", len(b.allocNS)))
	if err := makeImage(root, "128M", p.files); err != nil {
		return err
	}
	control, err := controlDevice()
	if err != nil {
		return err
	}
	defer control.Close()
	run := append(b.options.runArgs(p.memory), "--net:tap=@3", "--net:control=@4", "--net-mac:tap="+tap.MAC.String(),
		"--block:rootfs="+root, "--block-transfer:rootfs=1048576")
	run = append(run, b.options.offloadArgs()...)
	run = append(run, "--", p.kernel, "--config", "'"+config+"'", "--")
	c := exec.Command(run[0], append(run[1:], p.args...)...)
	c.ExtraFiles = []*os.File{tap.File, control}
	return b.startServer(c, address+":"+strconv.Itoa(int(p.port)))
}

// attach connects a guest with an alloc in a mode.
func (a alloc) attach(mode string, port uint16, o network.Options) (tap *network.Tap, found *network.Interface, err error) {
	ports := []network.PortRange{{First: port, Last: port}}
	switch mode {
	case "l2":
		tap, err = network.AttachL2(a.path(), o)
	case "shared":
		tap, err = network.AttachShared(a.path(), o, network.Sharing{TCP: ports, UDP: ports, LoopbackTarget: true})
	case "host":
		err = a.do(func() (err error) {
			tap, found, err = network.AttachHost(o, network.HostOptions{
				Subnet: netip.MustParsePrefix("100.109.0.0/24"),
				Ports:  []network.HostPort{{Address: netip.MustParseAddr(a.address), Port: port, Target: port}},
			})
			return err
		})
		return tap, found, err
	default:
		return nil, nil, fmt.Errorf("unknown mode %q", mode)
	}
	if err != nil {
		return nil, nil, err
	}
	found, err = network.Inspect(a.path(), "eth0")
	if err != nil {
		return nil, nil, errors.Join(err, tap.Close())
	}
	return tap, found, nil
}

// startInAlloc makes an alloc and starts a guest in it, which is connected in a mode. It
// returns the address of the server.
func (b *testbed) startInAlloc(p program, mode string, o network.Options) (address string, err error) {
	a, err := b.addAlloc()
	if err != nil {
		return "", err
	}
	o.Offload = b.options.offload
	tap, found, err := a.attach(mode, p.port, o)
	if err != nil {
		return "", err
	}
	config, err := p.config(tap, found, mode == "shared")
	if err != nil {
		return "", errors.Join(err, tap.Close())
	}
	return a.address, b.startOnTap(p, tap, config, a.address)
}

// SPDX-License-Identifier: MPL-2.0

// Package hostcheck finds out which guests this host can run, and why not.
//
// The driver's fingerprint and the commands for people use the same probes.
package hostcheck

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/landlock"
)

// probeTimeout bounds the run of the probe's guest, which takes about a millisecond on
// an idle host.
const probeTimeout = 10 * time.Second

// A Host holds the probes. Each exercises one facility of the host. Its error names the
// fault and the remedy. LocalHost returns the real probes; tests replace some of them.
type Host struct {
	// Supported fails where no guest can ever run: on another processor, or
	// without root.
	Supported func() error
	// StateDir fails if tasks cannot keep their files in the state directory.
	StateDir func() error
	// Executor fails if the executor program is not installed.
	Executor func() error
	// SPT runs a guest of a few instructions in the spt tender.
	SPT func(context.Context) error
	// KVM creates a virtual machine.
	KVM func() error
	// Tap opens the tap device, and checks that the kernel can connect a tap.
	Tap func() error
	// Sharing checks that the kernel can share an interface between a guest and other
	// tasks.
	Sharing func() error
	// HostNetwork checks that guests may use the host's network, and that the kernel can
	// translate their addresses. It returns ErrForbidden if they may not.
	HostNetwork func() error
	// Ext4 looks for the tools that build root disks.
	Ext4 func() error
	// Landlock fails if the kernel has no Landlock, which is a second line of defense.
	Landlock func() error
	// Cgroup returns the version of the host's control groups, "v1" or "v2".
	Cgroup func() (string, error)
}

// ErrForbidden means that the operator does not allow guests to use a facility.
var ErrForbidden = errors.New("the client's plugin config forbids it")

// DriverProbes are the probes that depend on the driver's configuration.
type DriverProbes struct {
	StateDir, Executor, Ext4 func() error // see Host

	// These check the kernel, in a network namespace that exists only during the call. nil
	// means that the kernel can do it.
	Connect   func() error // a guest to a network
	Share     func() error // an interface with a guest
	Translate func() error // the addresses of a guest in the host's network
}

// LocalHost returns the probes of this machine.
//
// All of them are cheap enough to be repeated every period: the guest runs for about a
// millisecond, and the others are a few system calls. There are two exceptions. KVM
// creates a machine only when /dev/kvm has changed; see kvmProbe. A tap is connected only
// until that succeeds once; see tapProbe.
func LocalHost(driver DriverProbes) Host {
	kvm := kvmProbe{device: "/dev/kvm", create: createVM}
	return Host{
		Supported:   supported,
		StateDir:    driver.StateDir,
		Executor:    driver.Executor,
		SPT:         runSPT,
		KVM:         kvm.check,
		Tap:         tapProbe(driver.Connect),
		Sharing:     tapProbe(driver.Share),
		HostNetwork: tapProbe(driver.Translate),
		Ext4:        driver.Ext4,
		Landlock:    findLandlock,
		Cgroup:      cgroupVersion,
	}
}

// runSPT runs a guest of a few instructions in the spt tender.
func runSPT(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	return runGuest(ctx)
}

func findLandlock() error {
	if landlock.Version() == 0 {
		return landlock.ErrUnsupported
	}
	return nil
}

// tapProbe returns a probe that opens the tap device. It calls connect until that succeeds
// once, because a kernel does not lose these features. connect may be nil.
func tapProbe(connect func() error) func() error {
	connected := connect == nil
	return func() error {
		if err := openTap(); err != nil || connected {
			return err
		}
		err := connect()
		connected = err == nil
		return err
	}
}

// openTap opens the tap device, which loads its module, and checks that it supports
// taps. It creates no tap, because that would show in the host's network.
func openTap() error {
	const path = "/dev/net/tun"
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w (if it is missing, load its module with modprobe tun)", path, err)
	}
	defer unix.Close(fd)
	features, err := unix.IoctlGetInt(fd, unix.TUNGETFEATURES)
	if err != nil {
		return fmt.Errorf("get the features of %s: %w", path, err)
	}
	if features&unix.IFF_TAP == 0 {
		return fmt.Errorf("%s does not support taps", path)
	}
	return nil
}

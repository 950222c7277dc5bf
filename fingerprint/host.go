// SPDX-License-Identifier: MPL-2.0

package fingerprint

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// probeTimeout bounds the run of a probe's guest, which takes about a
// millisecond on an idle host.
const probeTimeout = 10 * time.Second

// This is the real machine. The two functions are the parts of the driver that
// fingerprinting asks about.
func This(executor, ext4 func() error) Host {
	return Host{
		Supported: supported,
		Executor:  executor,
		SPT: func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(ctx, probeTimeout)
			defer cancel()
			return runGuest(ctx)
		},
		VM:     createVM,
		Tap:    openTap,
		Ext4:   ext4,
		Cgroup: cgroup,
	}
}

func supported() error {
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		return fmt.Errorf("unikernels run on linux/amd64 only, not on %s/%s", runtime.GOOS, runtime.GOARCH)
	}
	if os.Geteuid() != 0 {
		return errors.New("the Nomad client does not run as root: the driver needs it for namespaces, taps and control groups")
	}
	return nil
}

// The requests of KVM that a probe needs, and the one version of its interface
// that there has been since 2007 (linux/kvm.h).
const (
	kvmGetAPIVersion = 0xae00
	kvmCreateVM      = 0xae01
	kvmAPIVersion    = 12
)

// createVM makes a virtual machine: a /dev/kvm that opens may still refuse
// one, for want of nested virtualisation or because of another hypervisor.
func createVM() error {
	fd, err := unix.Open("/dev/kvm", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open /dev/kvm: %w", err)
	}
	defer unix.Close(fd)
	version, err := unix.IoctlRetInt(fd, kvmGetAPIVersion)
	if err != nil {
		return fmt.Errorf("ask /dev/kvm for its version: %w", err)
	}
	if version != kvmAPIVersion {
		return fmt.Errorf("/dev/kvm has version %d, not %d", version, kvmAPIVersion)
	}
	vm, err := unix.IoctlRetInt(fd, kvmCreateVM)
	if err != nil {
		return fmt.Errorf("create a virtual machine: %w", err)
	}
	return unix.Close(vm)
}

// openTap opens the tap device, which loads its module, and asks whether it
// makes taps. It creates none: that would show up in the host's network.
func openTap() error {
	const path = "/dev/net/tun"
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s (is the tun module there? try modprobe tun): %w", path, err)
	}
	defer unix.Close(fd)
	features, err := unix.IoctlGetInt(fd, unix.TUNGETFEATURES)
	if err != nil {
		return fmt.Errorf("ask %s for its features: %w", path, err)
	}
	if features&unix.IFF_TAP == 0 {
		return fmt.Errorf("%s makes no taps", path)
	}
	return nil
}

// cgroup tells the version from what is mounted, as Nomad's client does.
func cgroup() (string, error) {
	const path = "/sys/fs/cgroup"
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil {
		return "", fmt.Errorf("look at %s: %w", path, err)
	}
	switch fs.Type {
	case unix.CGROUP2_SUPER_MAGIC:
		return "v2", nil
	case unix.TMPFS_MAGIC:
		return "v1", nil
	}
	return "", fmt.Errorf("no control groups are mounted on %s", path)
}

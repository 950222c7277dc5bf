// SPDX-License-Identifier: MPL-2.0

package hostcheck

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// kvmProbe creates a virtual machine when it is first called, and again only when the
// device node has come, gone or changed its permissions. Its methods are not safe for
// concurrent use.
type kvmProbe struct {
	device string
	create func() error

	done   bool
	node   deviceNode // at the last probe
	result error
}

// deviceNode identifies a device node and its state: ctime also changes with owner and
// permissions. The zero value is a missing node.
type deviceNode struct {
	device, inode uint64
	ctime         unix.Timespec
}

func (p *kvmProbe) check() error {
	var node deviceNode
	var stat unix.Stat_t
	if err := unix.Stat(p.device, &stat); err == nil {
		node = deviceNode{stat.Dev, stat.Ino, stat.Ctim}
	}
	if !p.done || node != p.node {
		p.done, p.node, p.result = true, node, p.create()
	}
	return p.result
}

// Requests of KVM, and the only version of its interface since 2007 (linux/kvm.h).
const (
	kvmGetAPIVersion = 0xae00
	kvmCreateVM      = 0xae01
	kvmAPIVersion    = 12
)

// createVM creates and removes a virtual machine. Opening /dev/kvm is not enough: it may
// succeed although nested virtualization is off or another hypervisor runs.
func createVM() error {
	fd, err := unix.Open("/dev/kvm", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open /dev/kvm: %w", err)
	}
	defer unix.Close(fd)
	version, err := unix.IoctlRetInt(fd, kvmGetAPIVersion)
	if err != nil {
		return fmt.Errorf("get the version of /dev/kvm: %w", err)
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

// SPDX-License-Identifier: MPL-2.0

package server

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// capabilities are those of the calling thread. A worker's thread holds CAP_FSETID in reserve:
// permitted, but not effective. So the kernel removes the set-user-ID and set-group-ID bits of
// each file that the guest writes.
type capabilities struct {
	header   unix.CapUserHeader
	data     [2]unix.CapUserData
	reserved bool
}

const fsetid = 1 << unix.CAP_FSETID

// reserve takes CAP_FSETID from the effective capabilities.
func (c *capabilities) reserve() error {
	c.header = unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	if err := unix.Capget(&c.header, &c.data[0]); err != nil {
		return fmt.Errorf("read the capabilities: %w", err)
	}
	if c.data[0].Permitted&fsetid == 0 {
		return nil
	}
	c.reserved = true
	if errno := c.set(c.data[0].Effective &^ fsetid); errno != 0 {
		return fmt.Errorf("drop CAP_FSETID: %w", errno)
	}
	return nil
}

func (c *capabilities) set(effective uint32) unix.Errno {
	c.data[0].Effective = effective
	_, _, errno := unix.Syscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&c.header)), uintptr(unsafe.Pointer(&c.data)), 0)
	return errno
}

func (c *capabilities) raise() unix.Errno {
	if !c.reserved {
		return 0
	}
	return c.set(c.data[0].Effective | fsetid)
}

func (c *capabilities) drop() {
	if c.reserved {
		_ = c.set(c.data[0].Effective &^ fsetid)
	}
}

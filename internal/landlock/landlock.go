// SPDX-License-Identifier: MPL-2.0

// Package landlock makes rulesets for Landlock, the kernel's sandbox for unprivileged
// processes. The callers apply a ruleset by landlock_restrict_self(2): to all threads of
// the executor, or to a tool between fork and exec.
//
// go-landlock is not used: it only restricts the calling process, by libcap/psx, and
// leaves it to its caller to name the rights of each kernel version.
package landlock

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ErrUnsupported means that the kernel has no Landlock: it is older than Linux 5.13,
// was built without CONFIG_SECURITY_LANDLOCK, or does not list it in its parameter lsm=.
var ErrUnsupported = errors.New("the kernel has no Landlock (Linux 5.13, CONFIG_SECURITY_LANDLOCK, parameter lsm=landlock)")

// A Rule allows access to a file, or to a directory and everything below it.
type Rule struct {
	FD int // an open file; O_PATH is enough. A memfd needs no rule, and its rule is ignored
	// Access is a set of LANDLOCK_ACCESS_FS_*. Rights that the kernel does not know are
	// ignored. For a file, the kernel refuses rights that only directories have.
	Access uint64
}

// A Ruleset lists the exceptions for a restricted thread. Landlock denies it all other
// access to files, and all network access that the kernel's version of Landlock knows.
// Descriptors that are already open are not affected.
type Ruleset struct {
	Rules []Rule
	// Signals allows signals to processes outside of the sandbox.
	Signals bool
}

// Version returns the version of the kernel's Landlock interface, or 0 without Landlock.
func Version() int {
	n, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return 0
	}
	return int(n)
}

// Open returns a descriptor of the ruleset for landlock_restrict_self(2). It returns
// ErrUnsupported if the kernel has no Landlock.
func (r Ruleset) Open() (int, error) {
	if Version() == 0 {
		return -1, ErrUnsupported
	}
	handled := knownRights()
	if r.Signals {
		handled.scoped &^= unix.LANDLOCK_SCOPE_SIGNAL
	}
	fd, err := create(handled)
	if err != nil {
		return -1, fmt.Errorf("landlock_create_ruleset: %w", err)
	}
	for _, rule := range r.Rules {
		if err := rule.add(fd, handled); err != nil {
			_ = unix.Close(fd)
			return -1, err
		}
	}
	return fd, nil
}

func (r Rule) add(ruleset int, handled rights) error {
	attr := unix.LandlockPathBeneathAttr{Allowed_access: r.Access & handled.files, Parent_fd: int32(r.FD)}
	_, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(ruleset), unix.LANDLOCK_RULE_PATH_BENEATH,
		uintptr(unsafe.Pointer(&attr)), 0, 0, 0)
	if errno == unix.EBADFD {
		return nil // Landlock does not apply to files of the kernel's internal file systems
	}
	if errno != 0 {
		return fmt.Errorf("landlock_add_rule for descriptor %d: %w", r.FD, errno)
	}
	return nil
}

// rights are the rights that a ruleset handles: it denies those without a rule. The
// fields are those of struct landlock_ruleset_attr (linux/landlock.h).
type rights struct{ files, network, scoped uint64 }

// knownRights returns all rights that the kernel knows. The kernel refuses a ruleset with
// others. Each version of Landlock has added rights in the order of their bits, so the
// highest bits are left out one after the other.
func knownRights() (known rights) {
	const files, network, scopes = 17, 4, 2 // bits that are defined today
	for _, field := range []struct {
		mask *uint64
		bits int
	}{{&known.files, files}, {&known.network, network}, {&known.scoped, scopes}} {
		for *field.mask = 1<<field.bits - 1; *field.mask != 0; *field.mask >>= 1 {
			if fd, err := create(known); err == nil {
				_ = unix.Close(fd)
				break
			}
		}
	}
	return known
}

func create(handled rights) (int, error) {
	fd, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&handled)), unsafe.Sizeof(handled), 0)
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}

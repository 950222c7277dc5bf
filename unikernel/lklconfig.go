// SPDX-License-Identifier: MPL-2.0

package unikernel

import (
	"errors"
	"net"
	"net/netip"
	"time"
)

// LKLConfig is the configuration of an LKL guest. It can only be written as
// what the parser of the guests of 2020 takes.
type LKLConfig struct {
	Interfaces []LKLInterface
	// Gateway and Gateway6 are the default routes; the zero value means none.
	Gateway, Gateway6 netip.Addr
	// Sysctl is set in order of the names, such as "net.ipv4.tcp_rmem".
	Sysctl map[string]string
	// Debug makes the guest print the kernel's messages.
	Debug bool
	// SingleCPU pins the guest kernel's threads to one host thread.
	SingleCPU bool
	// DelayMain is how long the guest waits before main, in microseconds' grain.
	DelayMain time.Duration
}

// An LKLInterface is the guest's end of a net device of the manifest.
type LKLInterface struct {
	// Name is the device's name in the manifest.
	Name string
	// Address and Address6 are the IPv4 and IPv6 address with prefix length;
	// the zero value means none.
	Address, Address6 netip.Prefix
	// Gateway and Gateway6 are routes of this interface alone (policy
	// routing), not the default route.
	Gateway, Gateway6 netip.Addr
	MAC               net.HardwareAddr
	// MTU in bytes, at most 1500; 0 leaves it to the guest.
	MTU int
}

// Validate finds every mistake; the errors wrap ErrConfig.
func (c *LKLConfig) Validate() error { return errors.ErrUnsupported }

// MarshalJSON writes the configuration for the guest. It validates first.
func (c *LKLConfig) MarshalJSON() ([]byte, error) { return nil, errors.ErrUnsupported }

// LKLKernelMemory is the kernel argument, such as "mem=100M", that gives the
// kernel of an LKL guest of 2020 as much memory as fits into the guest's
// memory (bytes). The error wraps ErrMemory.
func LKLKernelMemory(guestMemory uint64) (string, error) { return "", errors.ErrUnsupported }

// SPDX-License-Identifier: MPL-2.0

package unikernel

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"net"
	"net/netip"
	"path"
	"slices"
	"strings"
	"time"
)

// Limits of the guests of 2020.
const (
	// maxTokens is the size of the parser's token table.
	maxTokens = 300
	// maxSysctl is the longest list of sysctl settings, in bytes: a longer one
	// overruns the guest's buffer.
	maxSysctl = 255
	// maxSysctlName is the longest name of one, in bytes: the guest makes a
	// path of at most 255 bytes of it, below /proc/sys/.
	maxSysctlName = 245
	// minMTU and minMTU6 are Linux's least for IPv4 (RFC 791) and IPv6 (RFC
	// 8200); maxMTU is the most that the guest's buffers take. In bytes.
	minMTU, minMTU6, maxMTU = 68, 1280, 1500
	// maxDelay is the longest sleep that its usleep takes.
	maxDelay = math.MaxUint32 * time.Microsecond
	// maxDirectory is the longest path that Linux takes, in bytes (PATH_MAX less
	// its NUL).
	maxDirectory = 4095
)

// maxRoutes is how many routes a guest takes (guest/lkl/start: MAX_ROUTES).
const maxRoutes = 64

// Validate finds every mistake, also what a guest would pass over in silence;
// the errors wrap ErrConfig.
func (c LKLConfig) Validate() error {
	v := &verdict{offLink: c.Features.Has(FeatureConfig)}
	names := make(map[string]bool)
	for i, n := range c.Interfaces {
		v.where = fmt.Sprintf("interface %d (%q): ", i+1, n.Name)
		n.validate(v)
		if names[n.Name] {
			v.wrong("its name is there twice")
		}
		names[n.Name] = true
	}
	c.validateDisks(v)
	v.where = ""
	c.validateGateways(v)
	c.validateSysctl(v)
	if c.DelayMain < 0 || c.DelayMain > maxDelay {
		v.wrong("a delay of %s before main, where it is at least 0 and at most %s", c.DelayMain, maxDelay)
	}
	c.validateRoutes(v)
	if c.Root != "" && !validDeviceName(c.Root) {
		v.wrong("the root's block device %q: its name is not 1 to %d letters and digits", c.Root, MaxDeviceName)
	}
	if dir := c.Program.Directory; dir != "" && (!path.IsAbs(dir) || !plain(dir) || len(dir) > maxDirectory) {
		v.wrong("the working directory %q must be an absolute path of at most %d bytes of printable ASCII without any of %s",
			dir, maxDirectory, special)
	}
	if n := c.tokens(); n > maxTokens {
		v.wrong("%d interfaces, %d disks and all their settings make %d tokens, %d more than the %d that the guest reads",
			len(c.Interfaces), len(c.Disks), n, n-maxTokens, maxTokens)
	}
	return errors.Join(v.errs...)
}

// A verdict collects mistakes, and where they are.
type verdict struct {
	offLink bool // the guest reaches IPv4 gateways that are in no interface's network
	where   string
	errs    []error
}

func (v *verdict) wrong(format string, args ...any) {
	v.errs = append(v.errs, fmt.Errorf("%w: %s%s", ErrConfig, v.where, fmt.Sprintf(format, args...)))
}

func (c LKLConfig) validateDisks(v *verdict) {
	names := make(map[string]bool)
	for i, d := range c.Disks {
		v.where = fmt.Sprintf("disk %d (%q): ", i+1, d.Name)
		if !validDeviceName(d.Name) {
			v.wrong("its name is not 1 to %d letters and digits", MaxDeviceName)
		}
		if names[d.Name] {
			v.wrong("its name is there twice")
		}
		names[d.Name] = true
	}
}

func (n LKLInterface) validate(v *verdict) {
	if !validDeviceName(n.Name) {
		v.wrong("its name is not 1 to %d letters and digits", MaxDeviceName)
	}
	n.validateAddresses(v)
	if n.Gateway.IsValid() && !n.reaches(n.Gateway, v.offLink) {
		v.wrong("its gateway %s is not an IPv4 address in the interface's network", n.Gateway)
	}
	if n.Gateway6.IsValid() && !n.reaches6(n.Gateway6) {
		v.wrong("its gateway %s is neither an IPv6 address in the interface's network nor a link-local one", n.Gateway6)
	}
	if n.MAC != nil && !validMAC(n.MAC) {
		v.wrong("its MAC %s is not the 6 bytes of one station", n.MAC)
	}
	if n.MTU != 0 && (n.MTU < minMTU || n.MTU > maxMTU) {
		v.wrong("its MTU %d is not between %d and %d", n.MTU, minMTU, maxMTU)
	} else if n.MTU != 0 && n.MTU < minMTU6 && n.Address6.IsValid() {
		v.wrong("its MTU %d is below %d, the least for IPv6", n.MTU, minMTU6)
	}
}

func (n LKLInterface) validateAddresses(v *verdict) {
	if n.Address != (netip.Prefix{}) {
		switch a := n.Address.Addr(); {
		case !n.Address.IsValid() || !a.Is4() || !isStation(a) || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
			v.wrong("%s is not the IPv4 address of a station with its prefix length", n.Address)
		case n.Address.Bits() < 1:
			v.wrong("the guest takes IPv4 prefix lengths of 1 to 32 alone, not %s", n.Address)
		case n.Address.Bits() == 32 && !v.offLink:
			v.wrong("a guest of 2020 takes IPv4 prefix lengths of 1 to 31 alone, not %s; one that lkl-cc links takes 32 too", n.Address)
		}
	}
	if n.Address6 != (netip.Prefix{}) {
		switch a := n.Address6.Addr(); {
		case !n.Address6.IsValid() || !a.Is6() || a.Is4In6() || !isStation(a):
			v.wrong("%s is not the IPv6 address of a station with its prefix length", n.Address6)
		case n.Address6.Bits() < 1:
			v.wrong("the guest takes IPv6 prefix lengths of 1 to 128 alone, not %s", n.Address6)
		}
	}
}

// isStation tells whether an address can be one interface's own.
func isStation(a netip.Addr) bool { return !a.IsUnspecified() && !a.IsMulticast() }

// validMAC tells whether an address is Ethernet's and one station's.
func validMAC(mac net.HardwareAddr) bool {
	const group = 1 // the bit of the first byte that marks multicast
	return len(mac) == 6 && mac[0]&group == 0 && slices.Max(mac) > 0
}

// reaches tells whether a router is in the interface's IPv4 network, or may be
// reached outside of it.
func (n LKLInterface) reaches(router netip.Addr, offLink bool) bool {
	return router.Is4() && n.Address.IsValid() && router != n.Address.Addr() &&
		(offLink || n.Address.Contains(router))
}

// reaches6 tells whether a router is in the interface's IPv6 network or on its
// link. The guest knows no zones.
func (n LKLInterface) reaches6(router netip.Addr) bool {
	return router.Is6() && router.Zone() == "" && n.Address6.IsValid() && router != n.Address6.Addr() &&
		(n.Address6.Contains(router) || router.IsLinkLocalUnicast())
}

func (c LKLConfig) validateGateways(v *verdict) {
	reached := func(router netip.Addr, reaches func(LKLInterface) bool) bool {
		return !router.IsValid() || slices.ContainsFunc(c.Interfaces, reaches)
	}
	if !reached(c.Gateway, func(n LKLInterface) bool { return n.reaches(c.Gateway, v.offLink) }) {
		v.wrong("the gateway %s is in no interface's IPv4 network", c.Gateway)
	}
	if !reached(c.Gateway6, func(n LKLInterface) bool { return n.reaches6(c.Gateway6) }) {
		v.wrong("the gateway %s is in no interface's IPv6 network", c.Gateway6)
	}
}

func (c LKLConfig) validateSysctl(v *verdict) {
	for _, name := range slices.Sorted(maps.Keys(c.Sysctl)) {
		value := c.Sysctl[name]
		switch {
		case name == "" || !plain(name) || strings.Contains(name, " "):
			v.wrong("sysctl %q: the name must be printable ASCII without blanks and any of %s", name, special)
		case len(name) > maxSysctlName:
			v.wrong("sysctl %q: the name has %d bytes, %d more than %d", name, len(name), len(name)-maxSysctlName, maxSysctlName)
		case value == "" || !plain(value):
			v.wrong("sysctl %s: the value %q must be printable ASCII, not empty, without any of %s", name, value, special)
		}
	}
	if text := c.sysctlText(); len(text) > maxSysctl {
		v.wrong("the sysctl settings take %d bytes, %d more than the %d that the guest reads", len(text), len(text)-maxSysctl, maxSysctl)
	}
}

func (c LKLConfig) validateRoutes(v *verdict) {
	if len(c.Routes) > 0 && len(c.Interfaces) == 0 {
		v.wrong("routes without an interface")
	}
	if len(c.Routes) > maxRoutes {
		v.wrong("%d routes, %d more than %d", len(c.Routes), len(c.Routes)-maxRoutes, maxRoutes)
	}
	for _, r := range c.Routes {
		switch {
		case !r.To.IsValid() || r.To != r.To.Masked():
			v.wrong("the route to %s leads to no network", r.To)
		case r.Via.IsValid() && (r.Via.Is4() != r.To.Addr().Is4() || r.Via.Zone() != ""):
			v.wrong("the route to %s cannot lead through %s", r.To, r.Via)
		}
	}
}

// special is what the guest's parsers take for something else, and what Go's
// JSON encoder would escape.
const special = `" \ ; = < > &`

// plain tells whether the guest reads a text back as it is.
func plain(text string) bool {
	for _, c := range []byte(text) {
		if c < ' ' || c > '~' || (c != ' ' && strings.IndexByte(special, c) >= 0) {
			return false
		}
	}
	return true
}

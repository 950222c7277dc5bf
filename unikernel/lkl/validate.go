// SPDX-License-Identifier: MPL-2.0

package lkl

import (
	"cmp"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/problems"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
)

// Limits of legacy guests.
const (
	// maxTokens is the size of the parser's token table.
	maxTokens = 300
	// MaxLegacySysctl is the maximum length of all sysctl settings, in bytes. A
	// longer text overflows the guest's buffer.
	MaxLegacySysctl = 255
	// maxLegacySysctlName is the maximum length of one name, in bytes: the path
	// /proc/sys/NAME must fit into 255 bytes.
	maxLegacySysctlName = 245
)

// Limits of guests with FeatureConfig (sysctl_set of guest/lkl/start). They have
// no limit on all sysctl settings together.
const (
	maxSysctlName = 127
	// MaxSysctlValue is the maximum length of one value, in bytes.
	MaxSysctlValue = 254
	// maxRoutes is MAX_ROUTES.
	maxRoutes = 64
	// MaxName is the maximum length of a program's name, in bytes.
	MaxName = 255
)

const (
	// minMTU is the minimum for IPv4 (RFC 791), minMTU6 for IPv6 (RFC 8200).
	minMTU, minMTU6 = 68, 1280
	// maxDirectory is the maximum length of a path, in bytes (PATH_MAX without
	// the NUL).
	maxDirectory = 4095
)

// Validate reports every mistake that a guest with these features would refuse
// or silently ignore. Its error wraps ErrConfig.
func (c Config) Validate(features unikernel.Features) error {
	v := &validation{legacy: !features.Has(unikernel.FeatureConfig), maxMTU: features.MaxMTU()}
	v.checkInterfaces(c.Interfaces)
	names := make(map[string]bool)
	for i, d := range c.Disks {
		v.field = fmt.Sprintf("disk %d (%q)", i+1, d.Name)
		v.checkDeviceName(d.Name, names)
	}
	v.field = ""
	v.checkMounts(c.Mounts, features)
	v.checkGateways(c)
	v.checkNeighbors(c)
	v.field = "sysctl"
	v.checkSysctl(c)
	v.field = ""
	v.checkRoutes(c)
	if c.Root != "" && !unikernel.ValidDeviceName(c.Root) {
		v.addf("root %q must be a device name of 1 to %d letters and digits", c.Root, unikernel.MaxDeviceName)
	}
	if v.legacy && (c.RootOptions != "" || c.Program.Stack != 0) {
		v.addf("mount options of the root and the size of the stack need the feature config")
	}
	if v.legacy && (c.Hostname != "" || len(c.Entropy) > 0) {
		v.addf("hostname and entropy need the feature config")
	}
	if !plain(c.Hostname, escaped+" ") {
		v.addf("the host name %q must be printable ASCII without blanks or any of %s", c.Hostname, spaced(escaped))
	}
	v.field = "mount options of the root"
	v.checkMountOptions(c.RootOptions)
	v.field = ""
	if dir := c.Program.Directory; dir != "" && (!path.IsAbs(dir) || !plain(dir, escaped) || len(dir) > maxDirectory) {
		v.addf("the working directory %q must be an absolute path of at most %d bytes of printable ASCII without any of %s",
			dir, maxDirectory, spaced(escaped))
	}
	v.checkOutput(c, features)
	v.checkTokens(c)
	if err := v.problems.Err(); err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return nil
}

// A validation collects the mistakes in a configuration.
type validation struct {
	legacy   bool   // for a legacy guest
	maxMTU   int    // of the guest
	field    string // prefix of the messages
	problems problems.List
}

func (v *validation) addf(format string, args ...any) { v.problems.Addf(v.field, format, args...) }

// checkDeviceName checks the name of a list's next device; seen holds those before it.
func (v *validation) checkDeviceName(name string, seen map[string]bool) {
	if !unikernel.ValidDeviceName(name) {
		v.addf("the name must be 1 to %d letters and digits", unikernel.MaxDeviceName)
	}
	if seen[name] {
		v.addf("duplicate device name")
	}
	seen[name] = true
}

func (v *validation) checkInterfaces(list []Interface) {
	devices, names := make(map[string]bool), make(map[string]bool)
	for i, n := range list {
		v.field = fmt.Sprintf("interface %d (%q)", i+1, n.Name)
		v.checkDeviceName(n.Name, devices)
		if n.Rename != "" && !interfaceName.MatchString(n.Rename) || slices.Contains(reservedInterfaces, n.Rename) {
			v.addf("the guest cannot call an interface %q", n.Rename)
		}
		name := cmp.Or(n.Rename, n.Name)
		if names[name] && !v.legacy {
			v.addf("another interface is called %q in the guest", name)
		}
		names[name] = true
		v.checkInterface(n)
	}
}

// interfaceName matches the names that the guest can give to an interface: Linux keeps
// 15 bytes. reservedInterfaces are directories of /proc/sys/net, or the loopback device.
var (
	interfaceName      = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]{0,14}$`)
	reservedInterfaces = []string{"all", "default", "lo"}
)

func (v *validation) checkInterface(n Interface) {
	v.checkAddresses(n)
	if n.Gateway.IsValid() && !n.reaches(n.Gateway, v.legacy) {
		v.addf("gateway %s is not an IPv4 address in the interface's network", n.Gateway)
	}
	if n.Gateway6.IsValid() && !n.reaches6(n.Gateway6, v.legacy) {
		v.addf("gateway %s is neither an IPv6 address in the interface's network nor a link-local address", n.Gateway6)
	}
	if n.MAC != nil && !validMAC(n.MAC) {
		v.addf("MAC %q must be a unicast address of 6 bytes", n.MAC)
	}
	if n.MTU != 0 && (n.MTU < minMTU || n.MTU > v.maxMTU) {
		v.addf("MTU %d is not between %d and %d", n.MTU, minMTU, v.maxMTU)
	} else if n.MTU != 0 && n.MTU < minMTU6 && n.Address6.IsValid() {
		v.addf("MTU %d is below %d, the minimum for IPv6", n.MTU, minMTU6)
	}
}

func (v *validation) checkAddresses(n Interface) {
	if n.Address != (netip.Prefix{}) {
		switch a := n.Address.Addr(); {
		case !n.Address.IsValid() || !a.Is4() || !isUnicast(a) || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
			v.addf("%s is not a unicast IPv4 address with a prefix length", n.Address)
		case n.Address.Bits() < 1:
			v.addf("the prefix length of %s must be 1 to 32", n.Address)
		case n.Address.Bits() == 32 && v.legacy:
			v.addf("the prefix length of %s must be 1 to 31: only guests that lkl-cc links accept 32", n.Address)
		}
	}
	if n.Address6 != (netip.Prefix{}) {
		switch a := n.Address6.Addr(); {
		case !n.Address6.IsValid() || !a.Is6() || a.Is4In6() || !isUnicast(a):
			v.addf("%s is not a unicast IPv6 address with a prefix length", n.Address6)
		case n.Address6.Bits() < 1:
			v.addf("the prefix length of %s must be 1 to 128", n.Address6)
		}
	}
}

func isUnicast(a netip.Addr) bool { return !a.IsUnspecified() && !a.IsMulticast() }

// validMAC reports whether a MAC is the Ethernet address of one interface.
func validMAC(mac net.HardwareAddr) bool {
	const multicast = 1 // flag in the first byte (IEEE 802: I/G bit)
	return len(mac) == 6 && mac[0]&multicast == 0 && slices.Max(mac) > 0
}

// reaches reports whether an interface can use an IPv4 router. Only a legacy guest
// needs a router inside the interface's network.
func (n Interface) reaches(router netip.Addr, legacy bool) bool {
	return router.Is4() && n.Address.IsValid() && router != n.Address.Addr() &&
		(!legacy || n.Address.Contains(router))
}

// reaches6 reports whether an interface can use an IPv6 router. Only a legacy guest
// needs a router that is inside the interface's network or link-local. No guest knows
// zones.
func (n Interface) reaches6(router netip.Addr, legacy bool) bool {
	return router.Is6() && router.Zone() == "" && n.Address6.IsValid() && router != n.Address6.Addr() &&
		(!legacy || n.Address6.Contains(router) || router.IsLinkLocalUnicast())
}

func (v *validation) checkGateways(c Config) {
	if c.Gateway.IsValid() && !slices.ContainsFunc(c.Interfaces, func(n Interface) bool { return n.reaches(c.Gateway, v.legacy) }) {
		v.addf("gateway %s is in no interface's IPv4 network", c.Gateway)
	}
	if c.Gateway6.IsValid() && !slices.ContainsFunc(c.Interfaces, func(n Interface) bool { return n.reaches6(c.Gateway6, v.legacy) }) {
		v.addf("gateway %s is in no interface's IPv6 network", c.Gateway6)
	}
}

// checkOutput checks the settings that need FeatureOutput.
func (v *validation) checkOutput(c Config, features unikernel.Features) {
	if !features.Has(unikernel.FeatureOutput) && (c.Program.Name != "" || c.Output != Output{}) {
		v.addf("argv0, stderr, stdout_tty and stderr_tty need the feature %s", unikernel.FeatureOutput)
	}
	if err := CheckName(c.Program.Name); err != nil {
		v.addf("argv0 %w", err)
	}
}

// ProgramName returns the name of a program from the path of its kernel: the file's name
// without the prefix and the suffix that lkl-cc's applications have. It is "" if a guest
// cannot use the name.
func ProgramName(kernel string) string {
	name := path.Base(kernel)
	for _, suffix := range []string{".spt", ".hvt"} {
		name = strings.TrimSuffix(name, suffix)
	}
	name = strings.TrimPrefix(name, "lkl-")
	if CheckName(name) != nil {
		return ""
	}
	return name
}

// CheckName reports whether a guest can use a text as its program's name.
func CheckName(name string) error {
	if len(name) > MaxName || !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl) {
		return fmt.Errorf("%q must be valid UTF-8 of at most %d bytes without control characters", name, MaxName)
	}
	return nil
}

// CheckSysctl reports the mistakes in Sysctl that a guest with these features would refuse or
// silently ignore.
func (c Config) CheckSysctl(features unikernel.Features) error {
	v := &validation{legacy: !features.Has(unikernel.FeatureConfig)}
	v.checkSysctl(c)
	return v.problems.Err()
}

func (v *validation) checkSysctl(c Config) {
	maxName := maxSysctlName
	if v.legacy {
		maxName = maxLegacySysctlName
	}
	const excluded = escaped + separators
	for _, name := range slices.Sorted(maps.Keys(c.Sysctl)) {
		value := c.Sysctl[name]
		switch {
		case name == "" || !plain(name, excluded+" "):
			v.addf("%q: the name must be printable ASCII without blanks or any of %s", name, spaced(excluded))
		case len(name) > maxName:
			v.addf("%q: the name has %d bytes, %d more than %d", name, len(name), len(name)-maxName, maxName)
		case value == "" || !plain(value, excluded):
			v.addf("%s: the value %q must be printable ASCII, not empty, without any of %s", name, value, spaced(excluded))
		case len(value) > MaxSysctlValue && !v.legacy:
			v.addf("%s: the value has %d bytes, %d more than %d", name, len(value), len(value)-MaxSysctlValue, MaxSysctlValue)
		}
	}
	if n := c.SysctlLength(); n > MaxLegacySysctl && v.legacy {
		v.addf("the settings have %d bytes, %d more than the %d that the guest reads", n, n-MaxLegacySysctl, MaxLegacySysctl)
	}
}

func (v *validation) checkRoutes(c Config) {
	if len(c.Routes) > 0 && len(c.Interfaces) == 0 {
		v.addf("routes need an interface")
	}
	if len(c.Routes) > maxRoutes {
		v.addf("%d routes, %d more than %d", len(c.Routes), len(c.Routes)-maxRoutes, maxRoutes)
	}
	for _, r := range c.Routes {
		switch {
		case r.Interface != "" && !slices.ContainsFunc(c.Interfaces, func(n Interface) bool { return n.Name == r.Interface }):
			v.addf("route to %s: there is no interface %q", r.To, r.Interface)
		case !r.To.IsValid() || r.To != r.To.Masked():
			v.addf("route to %s: the destination is not a network", r.To)
		case r.Via.IsValid() && (r.Via.Is4() != r.To.Addr().Is4() || r.Via.Zone() != ""):
			v.addf("route to %s: the router %s must be of the same address family and without a zone", r.To, r.Via)
		}
	}
}

// checkTokens checks the limit of the legacy parser, which never gets routes and mounts.
func (v *validation) checkTokens(c Config) {
	c.Routes, c.Mounts = nil, nil
	encoded, err := c.encode()
	if err != nil {
		v.addf("%w", err)
		return
	}
	n, err := tokens(encoded)
	if err != nil {
		v.addf("%w", err)
	} else if n > maxTokens {
		v.addf("%d interfaces, %d disks and their settings make %d tokens, %d more than the %d that the guest reads",
			len(c.Interfaces), len(c.Disks), n, n-maxTokens, maxTokens)
	}
}

const (
	// escaped holds the characters that JSON escapes. A legacy guest reads no
	// escapes.
	escaped = `"\`
	// separators holds the characters at which a guest splits sysctl settings.
	separators = ";="
)

// spaced returns the characters of a text with spaces between them, for messages.
func spaced(characters string) string {
	return strings.Join(strings.Split(characters, ""), " ")
}

// plain reports whether a text is printable ASCII without the excluded characters.
func plain(text, excluded string) bool {
	for _, c := range []byte(text) {
		if c < ' ' || c > '~' || strings.IndexByte(excluded, c) >= 0 {
			return false
		}
	}
	return true
}

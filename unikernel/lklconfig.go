// SPDX-License-Identifier: MPL-2.0

package unikernel

import (
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// LKLConfig is the configuration of an LKL guest. Without Routes, Root, Program,
// Disks, FSGSBase and offloads it can only be written as what the parser of the guests of 2020
// takes: an object of strings without escapes, of known keys, of at most 300 tokens. The
// keys of the first five end such a guest with a fault: each is for guests whose Features
// have it.
type LKLConfig struct {
	// Interfaces are the net devices that the guest brings up.
	Interfaces []LKLInterface
	// Features are the guest's, of Image. One with FeatureConfig takes an IPv4
	// address of its own alone (a prefix length of 32), and IPv4 gateways that are
	// in no interface's network, as some CNI networks have them.
	Features Features
	// Gateway and Gateway6 are the default routes; the zero value means none.
	Gateway, Gateway6 netip.Addr
	// Sysctl is set in order of the names, such as "net.ipv4.tcp_rmem".
	Sysctl map[string]string
	// Debug makes the guest print the kernel's and LKL's messages.
	Debug bool
	// SingleCPU pins the guest's threads to one processor.
	SingleCPU bool
	// DelayMain is how long the guest waits before main, in whole microseconds.
	DelayMain time.Duration
	// Routes are those besides the default routes, at most 64; for FeatureConfig.
	Routes []LKLRoute
	// Root is the block device of the root file system by its name in the manifest;
	// "" is rootfs. For FeatureConfig.
	Root string
	// Program is how the program is started; for FeatureProgram.
	Program LKLProgram
	// FSGSBase is whether the host lets programs set the FS base register; for
	// FeatureFSGSBase.
	FSGSBase bool
	// Disks are what the tender offers for block devices; for FeatureTransfer and
	// FeatureFlush.
	Disks []LKLDisk
}

// An LKLDisk is a block device of the manifest for which the tender offers more
// than the Solo5 ABI: see tender.Device.
type LKLDisk struct {
	// Name is the device's name in the manifest.
	Name string
	// Transfer is how many bytes one call may move; 0 is one block.
	Transfer uint32
	// Flush is whether the guest may flush the host's disk.
	Flush bool
}

func (d LKLDisk) settings() []setting {
	return present(
		setting{"name", d.Name},
		setting{"transfer", numberText(int64(d.Transfer))},
		setting{"flush", switchText(d.Flush)},
	)
}

// An LKLProgram is how a guest starts its program. The zero value is as
// root in the root directory, as in the guests of 2020.
type LKLProgram struct {
	// Directory is the working directory, an absolute path; "" is the root.
	Directory string
	// UID and GID are the user and group; 0 is root.
	UID, GID uint32
}

// An LKLInterface is the guest's end of a net device of the manifest.
type LKLInterface struct {
	// Name is the device's name in the manifest.
	Name string
	// Address and Address6 are the IPv4 and IPv6 address with their prefix
	// lengths; the zero value means none.
	Address, Address6 netip.Prefix
	// Gateway and Gateway6 are routes for this interface's own addresses
	// (policy routing), not the default route; the zero value means none.
	Gateway, Gateway6 netip.Addr
	// MAC is the Ethernet address; nil leaves it to the guest.
	MAC net.HardwareAddr
	// MTU is in bytes, at most 1500; 0 leaves it to the guest.
	MTU int
	// Offload tells the guest that its tap has virtio headers and offloads; for
	// FeatureOffload. A guest of 2020 takes the key for another of its own.
	Offload bool
}

// An LKLRoute is a route through the first interface.
type LKLRoute struct {
	// To is the network that it leads to.
	To netip.Prefix
	// Via is the router; the zero value: what is on the link itself.
	Via netip.Addr
}

func (r LKLRoute) settings() []setting {
	return present(setting{"to", r.To.String()}, setting{"via", addressText(r.Via)})
}

// A setting is one key of the configuration; an empty value leaves it out.
type setting struct{ key, value string }

// settings are the keys of one interface.
func (n LKLInterface) settings() []setting {
	return present(
		setting{"type", "rumpfd"},
		setting{"name", n.Name},
		setting{"ip", addressText(n.Address.Addr())},
		setting{"masklen", lengthText(n.Address)},
		setting{"ipv6", addressText(n.Address6.Addr())},
		setting{"masklen6", lengthText(n.Address6)},
		setting{"mac", n.MAC.String()},
		setting{"mtu", numberText(int64(n.MTU))},
		setting{"ifgateway", addressText(n.Gateway)},
		setting{"ifgateway6", addressText(n.Gateway6)},
		setting{"offload", switchText(n.Offload)},
	)
}

// settings are the keys of the configuration but for the interfaces.
func (c LKLConfig) settings() []setting {
	return present(
		setting{"gateway", addressText(c.Gateway)},
		setting{"gateway6", addressText(c.Gateway6)},
		setting{"sysctl", c.sysctlText()},
		setting{"debug", switchText(c.Debug)},
		setting{"singlecpu", switchText(c.SingleCPU)},
		setting{"delay_main", numberText(c.DelayMain.Microseconds())},
		setting{"root", c.Root},
		setting{"workdir", c.Program.Directory},
		setting{"uid", numberText(int64(c.Program.UID))},
		setting{"gid", numberText(int64(c.Program.GID))},
		setting{"fsgsbase", switchText(c.FSGSBase)},
	)
}

// tokens is how many tokens the parser of a guest of 2020 makes of the
// configuration: each object, list, key and value is one. It is told no routes.
func (c LKLConfig) tokens() int {
	n := 1 + 2*len(c.settings())
	if len(c.Interfaces) > 0 {
		n += 2
	}
	for _, i := range c.Interfaces {
		n += 1 + 2*len(i.settings())
	}
	if len(c.Disks) > 0 {
		n += 2
	}
	for _, d := range c.Disks {
		n += 1 + 2*len(d.settings())
	}
	return n
}

// MarshalJSON writes the configuration for the guest; the order of the keys is
// fixed. It validates first, and its errors wrap ErrConfig.
func (c LKLConfig) MarshalJSON() ([]byte, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	var members []string
	list := func(key string, objects []string) {
		if len(objects) > 0 {
			members = append(members, `"`+key+`":[`+strings.Join(objects, ",")+"]")
		}
	}
	list("interfaces", objects(c.Interfaces))
	list("routes", objects(c.Routes))
	list("disks", objects(c.Disks))
	return []byte(object(c.settings(), members...)), nil
}

// objects writes each of a list's records.
func objects[T interface{ settings() []setting }](list []T) []string {
	var written []string
	for _, record := range list {
		written = append(written, object(record.settings()))
	}
	return written
}

// object writes settings, after members that are written already.
func object(settings []setting, members ...string) string {
	for _, s := range settings {
		members = append(members, s.json())
	}
	return "{" + strings.Join(members, ",") + "}"
}

// json writes a setting as it is: Validate let nothing through that would need
// an escape.
func (s setting) json() string { return `"` + s.key + `":"` + s.value + `"` }

func (c LKLConfig) sysctlText() string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(c.Sysctl)) {
		list = append(list, name+"="+c.Sysctl[name])
	}
	return strings.Join(list, ";")
}

// present drops the settings without a value.
func present(settings ...setting) []setting {
	return slices.DeleteFunc(settings, func(s setting) bool { return s.value == "" })
}

func addressText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

func lengthText(p netip.Prefix) string {
	if !p.IsValid() {
		return ""
	}
	return strconv.Itoa(p.Bits())
}

func numberText(n int64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatInt(n, 10)
}

func switchText(on bool) string {
	if !on {
		return ""
	}
	return "1"
}

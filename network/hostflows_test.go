// SPDX-License-Identifier: MPL-2.0

package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/shoenig/test/must"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// trackFlow adds a connection to the kernel's table. A valid target replaces the receiver.
func trackFlow(from, to string, protocol uint8, target string) error {
	source, receiver := netip.MustParseAddrPort(from), netip.MustParseAddrPort(to)
	answerer := receiver
	if target != "" {
		answerer = netip.MustParseAddrPort(target)
	}
	end := func(a, b netip.AddrPort) netlink.IPTuple {
		return netlink.IPTuple{
			SrcIP: a.Addr().AsSlice(), SrcPort: a.Port(), DstIP: b.Addr().AsSlice(), DstPort: b.Port(), Protocol: protocol,
		}
	}
	family := familyOf(source.Addr()).netlink
	flow := &netlink.ConntrackFlow{
		FamilyType: uint8(family), Forward: end(source, receiver), Reverse: end(answerer, source), TimeOut: 1000,
	}
	if protocol == unix.IPPROTO_TCP {
		flow.ProtoInfo = &netlink.ProtoInfoTCP{State: 3}
	}
	return netlink.ConntrackCreate(netlink.ConntrackTable, netlink.InetFamily(family), flow)
}

// trackedFlows describes the connections that the calling thread's namespace tracks.
func trackedFlows() (found []string) {
	flows, _ := netlink.ConntrackTableList(netlink.ConntrackTable, unix.AF_UNSPEC)
	for _, f := range flows {
		end := net.JoinHostPort(f.Forward.DstIP.String(), fmt.Sprint(f.Forward.DstPort))
		found = append(found, fmt.Sprintf("%d %s %s", f.Forward.Protocol, f.Forward.SrcIP, end))
	}
	slices.Sort(found)
	return found
}

// The kernel's selection and that of a list delete the same connections.
func TestForgetFlows_DeletesOnlySelected(t *testing.T) {
	address := netip.MustParseAddr
	selectors := []flowSelector{
		{family: ip4, source: address("198.18.0.2")},
		{family: ip4, answerer: address("198.18.0.2")},
		{family: ip6, source: address("fd01::2")},
		{family: ip4, receiver: address("10.0.0.1"), udpPort: 80},
		{family: ip6, udpPort: 80},
	}
	for name, forget := range map[string]func([]flowSelector){"kernel": forgetFlows, "list": deleteListedFlows} {
		t.Run(name, func(t *testing.T) {
			a := newHost(t)
			var all, kept []string
			must.NoError(t, inNamespace(a.path, func(*namespace) error {
				err := trackFlows()
				all = trackedFlows()
				forget(selectors)
				kept = trackedFlows()
				return err
			}))
			must.SliceLen(t, 9, all)
			must.Eq(t, []string{
				"17 10.0.0.9 10.0.0.1:81", "17 10.0.0.9 10.0.0.3:80", "6 10.0.0.9 10.0.0.1:80", "6 fd02::9 [fd02::1]:80",
			}, kept)
		})
	}
}

func trackFlows() (err error) {
	for _, f := range []struct {
		from, to string
		protocol uint8
		target   string
	}{
		{"198.18.0.2:1", "10.0.0.9:2", unix.IPPROTO_TCP, ""},
		{"10.0.0.9:1", "10.0.0.1:81", unix.IPPROTO_TCP, "198.18.0.2:7"},
		{"[fd01::2]:1", "[fd02::9]:2", unix.IPPROTO_UDP, ""},
		{"10.0.0.9:1", "10.0.0.1:80", unix.IPPROTO_UDP, ""},
		{"[fd02::9]:1", "[fd02::1]:80", unix.IPPROTO_UDP, ""},
		// These stay.
		{"10.0.0.9:5", "10.0.0.3:80", unix.IPPROTO_UDP, ""},
		{"10.0.0.9:5", "10.0.0.1:80", unix.IPPROTO_TCP, ""},
		{"10.0.0.9:5", "10.0.0.1:81", unix.IPPROTO_UDP, ""},
		{"[fd02::9]:5", "[fd02::1]:80", unix.IPPROTO_TCP, ""},
	} {
		err = errors.Join(err, trackFlow(f.from, f.to, f.protocol, f.target))
	}
	return err
}

// SPDX-License-Identifier: MPL-2.0

package network

import (
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// The kernel translates the addresses of a connection as it did for the first packet. It
// must forget the connections of a guest that has ended, because the next guest may get
// the same address, and UDP flows to a port that did not lead to a guest before.

// A flowSelector selects tracked connections of an address family. A zero field matches all.
type flowSelector struct {
	family   *family
	source   netip.Addr // opened the connection
	answerer netip.Addr // answers, after the translation
	// UDP flows that are not translated, by the receiver.
	receiver netip.Addr
	udpPort  uint16
}

// forgetFlows deletes tracked connections. Kernels without the module nf_conntrack_netlink
// keep the connections until they expire.
func forgetFlows(selectors []flowSelector) {
	const maxWalks = 8 // each walk costs much less than a list
	if len(selectors) == 0 || readSetting("/proc/sys/net/netfilter/nf_conntrack_count") == "0" {
		return
	}
	var listed, selected []flowSelector
	for _, s := range selectors {
		if s.kernelSelects() && len(selected) < maxWalks {
			selected = append(selected, s)
		} else {
			listed = append(listed, s)
		}
	}
	if deleteFlows(selected) != nil {
		listed = selectors
	}
	deleteListedFlows(listed)
}

// kernelSelects reports whether the kernel finds the right connections. It compares IPv6
// addresses the wrong way round: it would delete the connections of all other addresses.
func (s flowSelector) kernelSelects() bool {
	return s.family == ip4 || !s.source.IsValid() && !s.answerer.IsValid() && !s.receiver.IsValid()
}

// deleteFlows lets the kernel select the connections (since Linux 6.11). It walks through
// its table once for each selector. Earlier kernels refuse the request.
func deleteFlows(selectors []flowSelector) error {
	for _, s := range selectors {
		if _, err := s.deletion().Execute(unix.NETLINK_NETFILTER, 0); err != nil {
			return err
		}
	}
	return nil
}

// deleteListedFlows lists the connections of both families, and deletes those that are
// selected. A list takes long even if it is short: the kernel locks each part of its table.
func deleteListedFlows(selectors []flowSelector) {
	if len(selectors) == 0 {
		return
	}
	h, err := netlink.NewHandle(unix.NETLINK_NETFILTER)
	if err != nil {
		return
	}
	defer h.Close()
	flows, _ := h.ConntrackTableList(netlink.ConntrackTable, unix.AF_UNSPEC)
	for _, f := range []*family{ip4, ip6} {
		selected := flowFilter(func(flow *netlink.ConntrackFlow) bool {
			return slices.ContainsFunc(selectors, func(s flowSelector) bool { return s.family == f && s.matches(flow) })
		})
		if slices.ContainsFunc(flows, selected) {
			_, _ = h.ConntrackDeleteFilters(netlink.ConntrackTable, netlink.InetFamily(f.netlink), selected)
		}
	}
}

type flowFilter func(*netlink.ConntrackFlow) bool

func (f flowFilter) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool { return f(flow) }

func (s flowSelector) matches(flow *netlink.ConntrackFlow) bool {
	is := func(want netip.Addr, ip net.IP) bool {
		address, _ := netip.AddrFromSlice(ip)
		return !want.IsValid() || address.Unmap() == want
	}
	translated := !flow.Forward.DstIP.Equal(flow.Reverse.SrcIP) || !flow.Forward.SrcIP.Equal(flow.Reverse.DstIP)
	return int(flow.FamilyType) == s.family.netlink &&
		is(s.source, flow.Forward.SrcIP) && is(s.answerer, flow.Reverse.SrcIP) && is(s.receiver, flow.Forward.DstIP) &&
		(s.udpPort == 0 || flow.Forward.Protocol == unix.IPPROTO_UDP && flow.Forward.DstPort == s.udpPort && !translated)
}

// Attributes and flags of linux/netfilter/nfnetlink_conntrack.h, and states of a connection.
const (
	ctaFilter      = 25
	ctaStatusMask  = 26
	ctaFilterOrig  = 1
	ctaFilterReply = 2
	filterSource   = 1 << 0
	filterTarget   = 1 << 1
	filterProtocol = 1 << 3
	filterPort     = 1 << 5
	anyNAT         = 1<<4 | 1<<5 // IPS_SRC_NAT, IPS_DST_NAT
)

// deletion returns a request to delete the selected connections. It always has a tuple. A
// kernel that does not know the filter misses parts of the tuple; without one, it would delete
// all connections.
func (s flowSelector) deletion() *nl.NetlinkRequest {
	request := nl.NewNetlinkRequest(netlink.ConntrackTable<<8|nl.IPCTNL_MSG_CT_DELETE, unix.NLM_F_ACK)
	request.AddData(&nl.Nfgenmsg{NfgenFamily: uint8(s.family.netlink), Version: 1}) // 0 would ignore the family
	orig, reply := s.tuple(nl.CTA_TUPLE_ORIG), s.tuple(nl.CTA_TUPLE_REPLY)
	origFlags := orig.address(filterSource, s.source) | orig.address(filterTarget, s.receiver)
	replyFlags := reply.address(filterSource, s.answerer)
	if s.udpPort != 0 {
		protocol := orig.AddRtAttr(unix.NLA_F_NESTED|nl.CTA_TUPLE_PROTO, nil)
		protocol.AddRtAttr(nl.CTA_PROTO_NUM, nl.Uint8Attr(unix.IPPROTO_UDP))
		protocol.AddRtAttr(nl.CTA_PROTO_DST_PORT, nl.BEUint16Attr(s.udpPort))
		origFlags |= filterProtocol | filterPort
		request.AddData(nl.NewRtAttr(nl.CTA_STATUS, nl.BEUint32Attr(0)))
		request.AddData(nl.NewRtAttr(ctaStatusMask, nl.BEUint32Attr(anyNAT)))
	}
	filter := nl.NewRtAttr(unix.NLA_F_NESTED|ctaFilter, nil)
	filter.AddRtAttr(ctaFilterOrig, nl.Uint32Attr(origFlags))
	filter.AddRtAttr(ctaFilterReply, nl.Uint32Attr(replyFlags))
	request.AddData(orig)
	request.AddData(reply)
	request.AddData(filter)
	return request
}

// A flowTuple is the addresses and ports of a connection in a direction.
type flowTuple struct {
	*nl.RtAttr
	addresses *nl.RtAttr
}

func (s flowSelector) tuple(attribute int) flowTuple {
	t := flowTuple{RtAttr: nl.NewRtAttr(unix.NLA_F_NESTED|attribute, nil)}
	t.addresses = t.AddRtAttr(unix.NLA_F_NESTED|nl.CTA_TUPLE_IP, nil)
	return t
}

// address adds an IPv4 address if it is valid, and returns the flag that compares it.
func (t flowTuple) address(flag uint32, a netip.Addr) uint32 {
	if !a.IsValid() {
		return 0
	}
	attribute := nl.CTA_IP_V4_SRC
	if flag == filterTarget {
		attribute = nl.CTA_IP_V4_DST
	}
	t.addresses.AddRtAttr(attribute, a.AsSlice())
	return flag
}

// forgetGuests deletes the connections of the taps' guests.
func (s *hostState) forgetGuests(taps []string) {
	var selectors []flowSelector
	for address, tap := range s.owners {
		if slices.Contains(taps, tap) {
			a, _ := netip.AddrFromSlice([]byte(address))
			selectors = append(selectors, flowSelector{family: familyOf(a), source: a}, flowSelector{family: familyOf(a), answerer: a})
		}
	}
	forgetFlows(selectors)
}

// forgetPorts deletes the UDP flows to ports of the host that are not translated.
func forgetPorts(rules []portRule) {
	var selectors []flowSelector
	for _, r := range rules {
		if r.protocol == unix.IPPROTO_UDP {
			selectors = append(selectors, flowSelector{family: r.family, receiver: r.address, udpPort: r.port})
		}
	}
	forgetFlows(selectors)
}

// SPDX-License-Identifier: MPL-2.0

package network

import (
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"
)

// define writes table, sets, chains and rules. The rules of an earlier version are
// replaced, and the elements of the sets stay.
func (t *hostTable) define() error {
	t.conn.AddTable(t.table)
	for _, set := range t.sets {
		if err := t.conn.AddSet(set, nil); err != nil {
			return fmt.Errorf("set %s: %w", set.Name, err)
		}
	}
	for _, c := range t.chains() {
		accept := nftables.ChainPolicyAccept
		chain := t.conn.AddChain(&nftables.Chain{
			Name: c.name, Table: t.table, Type: c.kind,
			Hooknum: c.hook, Priority: nftables.ChainPriorityRef(c.priority), Policy: &accept,
		})
		t.conn.FlushChain(chain)
		for _, r := range c.rules {
			t.conn.AddRule(&nftables.Rule{
				Table: t.table, Chain: chain, Exprs: r.expressions,
				UserData: userdata.AppendString(nil, userdata.TypeComment, r.comment),
			})
		}
	}
	return nil
}

type hostChain struct {
	name     string
	kind     nftables.ChainType
	hook     *nftables.ChainHook
	priority nftables.ChainPriority
	rules    []hostRule
}

type hostRule struct {
	comment     string
	expressions []expr.Any
}

func rule(comment string, parts ...[]expr.Any) hostRule {
	r := hostRule{comment: comment}
	for _, part := range parts {
		r.expressions = append(r.expressions, part...)
	}
	return r
}

// chains returns the rules of host mode.
func (t *hostTable) chains() []hostChain {
	const (
		raw    = -300 // before connection tracking
		dstnat = -100
		guard  = -90 // after dstnat
		filter = 0
		exit   = 90 // before srcnat
		srcnat = 100
	)
	pre, forward := nftables.ChainHookPrerouting, nftables.ChainHookForward
	post, out := nftables.ChainHookPostrouting, nftables.ChainHookOutput
	return []hostChain{
		{"raw", nftables.ChainTypeFilter, pre, raw, t.loopbackRules()},
		{"incoming", nftables.ChainTypeNAT, pre, dstnat, append([]hostRule{skipLoopback4()}, t.portRules()...)},
		{"local", nftables.ChainTypeNAT, out, dstnat, append([]hostRule{skipLoopback6()}, t.portRules()...)},
		{"guard", nftables.ChainTypeFilter, pre, guard, t.guardRules()},
		{"forward", nftables.ChainTypeFilter, forward, filter, t.forwardRules()},
		{"exit", nftables.ChainTypeFilter, post, exit, t.exitRules()},
		{"outgoing", nftables.ChainTypeNAT, post, srcnat, t.masqueradeRules()},
	}
}

// loopbackRules keep guests from 127.0.0.1 of the host, which route_localnet would allow.
// Answers to processes at 127.0.0.1 have the tap's address at this point.
func (t *hostTable) loopbackRules() []hostRule {
	return []hostRule{rule("guests do not reach 127.0.0.1 of the host",
		t.from(true), toLoopback4(), verdict(expr.VerdictDrop))}
}

// skipLoopback4 keeps other hosts from ports at 127.0.0.1. Packets of the host itself pass
// through the chain of local packets instead.
func skipLoopback4() hostRule {
	return rule("other hosts do not reach ports at 127.0.0.1", toLoopback4(), verdict(expr.VerdictReturn))
}

// skipLoopback6 leaves ::1 to the processes of the host. Linux has no equivalent of
// route_localnet for IPv6: answers for ::1 that arrive on a tap are lost.
func skipLoopback6() hostRule {
	return rule("::1 cannot lead to a guest", ip6.match(), ip6.load(ip6.target, 1),
		[]expr.Any{&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: netip.IPv6Loopback().AsSlice()}},
		verdict(expr.VerdictReturn))
}

// portRules lead the declared ports to their guests.
func (t *hostTable) portRules() (rules []hostRule) {
	for _, f := range []*family{ip4, ip6} {
		protocol, port := reg32(f.size/4), reg32(f.size/4+1)
		rules = append(rules,
			rule("ports at an address", f.match(),
				f.load(f.target, 1), loadProtocol(protocol), loadPort(port), t.nat(setPorts, f)),
			rule("ports at all addresses", f.match(), targetType(unix.RTN_LOCAL),
				loadProtocol(1), loadPort(reg32(1)), t.nat(setAnyPorts, f)))
	}
	return rules
}

// guardRules drop packets that the host forwards only because host mode has switched
// forwarding on, unless they belong to a guest's connection. Connections of other programs
// that translate addresses pass, too: such a program has switched forwarding on itself.
func (t *hostTable) guardRules() (rules []hostRule) {
	for _, f := range []*family{ip4, ip6} {
		rules = append(rules, rule("not forwarded without host mode", f.match(),
			loadName(expr.MetaKeyIIFNAME, 1), lookup(t.set(setSwitched, f), false),
			stateIs(false, expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED), translated(false),
			targetType(unix.RTN_UNICAST), verdict(expr.VerdictDrop)))
	}
	return rules
}

// forwardRules pass the packets of guests, and nothing else to guests than the declared
// ports and answers.
func (t *hostTable) forwardRules() []hostRule {
	return []hostRule{
		rule("answers", t.to(true), stateIs(true, expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED), verdict(expr.VerdictAccept)),
		rule("declared ports", t.to(true), translated(true), verdict(expr.VerdictAccept)),
		rule("nothing else", t.to(true), verdict(expr.VerdictDrop)),
		rule("would leave with the guest's address", t.from(true),
			stateIs(true, expr.CtStateBitINVALID), verdict(expr.VerdictDrop)),
	}
}

// exitRules drop packets to guests whose tap is gone. They would leave the host by the
// default route.
func (t *hostTable) exitRules() (rules []hostRule) {
	for _, f := range []*family{ip4, ip6} {
		rules = append(rules, rule("the guest has ended", f.match(),
			f.load(f.target, 1), lookup(t.set(setGuests, f), false), t.to(false), verdict(expr.VerdictDrop)))
	}
	return rules
}

// masqueradeRules give packets a sender's address to which the receiver can answer.
func (t *hostTable) masqueradeRules() []hostRule {
	masquerade := []expr.Any{&expr.Masq{}}
	rules := []hostRule{
		rule("guests to other hosts", t.from(true), t.to(false), masquerade),
		rule("the host's 127.0.0.1 to guests", t.to(true), ip4.match(), ip4.load(ip4.source, 1),
			[]expr.Any{
				&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: []byte{255, 0, 0, 0}, Xor: make([]byte, 4)},
				&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{127, 0, 0, 0}},
			}, masquerade),
	}
	for _, f := range []*family{ip4, ip6} {
		rules = append(rules, rule("a guest to its own ports", f.match(),
			loadName(expr.MetaKeyOIFNAME, 1), f.load(f.source, reg32(unix.IFNAMSIZ/4)),
			lookup(t.set(setLinks, f), false), masquerade))
	}
	return rules
}

// reg32 returns the number of a register of 32 bits. The first one is the begin of
// register 1.
func reg32(i uint32) uint32 { return unix.NFT_REG32_00 + i }

func verdict(kind expr.VerdictKind) []expr.Any { return []expr.Any{&expr.Verdict{Kind: kind}} }

// match compares the packet's address family.
func (f *family) match() []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{f.number}},
	}
}

// load loads an address of the packet.
func (f *family) load(offset, register uint32) []expr.Any {
	return []expr.Any{&expr.Payload{
		DestRegister: register, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: f.size,
	}}
}

func loadProtocol(register uint32) []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: register}}
}

// loadPort loads the port of the receiver.
func loadPort(register uint32) []expr.Any {
	return []expr.Any{&expr.Payload{DestRegister: register, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2}}
}

func loadName(key expr.MetaKey, register uint32) []expr.Any {
	return []expr.Any{&expr.Meta{Key: key, Register: register}}
}

// lookup compares the registers from the first one on with a set.
func lookup(set *nftables.Set, invert bool) []expr.Any {
	return []expr.Any{&expr.Lookup{SourceRegister: 1, SetName: set.Name, SetID: set.ID, Invert: invert}}
}

// from and to match packets that come from a tap of host mode or go to one, or do not.
func (t *hostTable) from(tap bool) []expr.Any {
	return append(loadName(expr.MetaKeyIIFNAME, 1), lookup(t.sets[setTaps], !tap)...)
}

func (t *hostTable) to(tap bool) []expr.Any {
	return append(loadName(expr.MetaKeyOIFNAME, 1), lookup(t.sets[setTaps], !tap)...)
}

// nat replaces the receiver by the element of a map for the registers from the first
// one on.
func (t *hostTable) nat(name string, f *family) []expr.Any {
	set := t.set(name, f)
	return []expr.Any{
		&expr.Lookup{SourceRegister: 1, DestRegister: 1, IsDestRegSet: true, SetName: set.Name, SetID: set.ID},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: uint32(f.number), RegAddrMin: 1, RegProtoMin: reg32(f.size / 4)},
	}
}

func toLoopback4() []expr.Any {
	return append(ip4.match(),
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: ip4.target, Len: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{127}})
}

// targetType compares the type of the receiver's address, such as RTN_LOCAL.
func targetType(kind uint32) []expr.Any {
	return []expr.Any{
		&expr.Fib{Register: 1, FlagDADDR: true, ResultADDRTYPE: true},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.NativeEndian.PutUint32(kind)},
	}
}

// stateIs matches packets of connections in one of the states, or in none of them.
func stateIs(one bool, states uint32) []expr.Any { return trackedBits(expr.CtKeySTATE, one, states) }

// translated matches packets of connections whose receiver has been replaced, or has not.
func translated(yes bool) []expr.Any {
	const dstNAT = 1 << 5 // IPS_DST_NAT of linux/netfilter/nf_conntrack_common.h
	return trackedBits(expr.CtKeySTATUS, yes, dstNAT)
}

func trackedBits(key expr.CtKey, set bool, bits uint32) []expr.Any {
	op := expr.CmpOpEq
	if set {
		op = expr.CmpOpNeq
	}
	return []expr.Any{
		&expr.Ct{Key: key, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(bits), Xor: make([]byte, 4)},
		&expr.Cmp{Op: op, Register: 1, Data: make([]byte, 4)},
	}
}

// SPDX-License-Identifier: MPL-2.0

package network

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// portRule leads packets of a protocol to a port of the host to a guest.
type portRule struct {
	family   *family
	address  netip.Addr // of the host; the zero Addr for all of the family
	protocol byte
	port     uint16
	guest    netip.Addr
	target   uint16
}

func (p portRule) String() string {
	name := map[byte]string{unix.IPPROTO_TCP: "TCP", unix.IPPROTO_UDP: "UDP"}[p.protocol]
	if !p.address.IsValid() {
		return fmt.Sprintf("%s port %d", name, p.port)
	}
	return fmt.Sprintf("%s port %s", name, netip.AddrPortFrom(p.address, p.port))
}

// element returns the rule as an element of the named set. Each part of a key takes a
// multiple of 4 bytes.
func (p portRule) element() (set string, e nftables.SetElement) {
	padded := func(key []byte, number uint16) []byte {
		return append(binary.BigEndian.AppendUint16(key, number), 0, 0)
	}
	e.Val = padded(p.guest.AsSlice(), p.target)
	e.Key = padded([]byte{p.protocol, 0, 0, 0}, p.port)
	if !p.address.IsValid() {
		return setAnyPorts + p.family.digit, e
	}
	e.Key = append(p.address.AsSlice(), e.Key...)
	return setPorts + p.family.digit, e
}

// portFrom is the inverse of element.
func portFrom(name string, f *family, e nftables.SetElement) portRule {
	p := portRule{family: f, guest: f.addressFrom(e.Val), target: binary.BigEndian.Uint16(e.Val[f.size:])}
	key := e.Key
	if name == setPorts {
		p.address = f.addressFrom(key)
		key = key[f.size:]
	}
	p.protocol, p.port = key[0], binary.BigEndian.Uint16(key[4:])
	return p
}

// conflicts reports whether a packet can match both rules.
func (p portRule) conflicts(q portRule) bool {
	return p.family == q.family && p.protocol == q.protocol && p.port == q.port &&
		(!p.address.IsValid() || !q.address.IsValid() || p.address == q.address)
}

// portsFor returns the rules for the ports of a guest. It refuses ports that another guest
// or a process of the host uses.
func (t *hostTable) portsFor(link *hostLink, ports []HostPort) ([]portRule, error) {
	var rules []portRule
	for _, port := range ports {
		found, err := link.rulesFor(port)
		if err != nil {
			return nil, err
		}
		rules = append(rules, found...)
	}
	state, err := t.read()
	if err != nil {
		return nil, err
	}
	for i, rule := range rules {
		for _, other := range rules[:i] {
			if rule.conflicts(other) {
				return nil, fmt.Errorf("%w: %s is declared twice", ErrHostPort, rule)
			}
		}
		if err := state.checkPort(rule); err != nil {
			return nil, err
		}
		if err := rule.checkUnused(); err != nil {
			return nil, err
		}
	}
	return rules, nil
}

// rulesFor returns the rules for a port in the families of its address.
func (l *hostLink) rulesFor(port HostPort) ([]portRule, error) {
	address := port.Address.Unmap()
	if address == netip.IPv6Loopback() {
		return nil, fmt.Errorf("%w: Linux cannot translate ::1: use 127.0.0.1 for port %d", ErrHostPort, port.Port)
	}
	var rules []portRule
	for _, end := range l.ends {
		if address.IsValid() && familyOf(address) != end.family {
			continue
		}
		for _, protocol := range []byte{unix.IPPROTO_TCP, unix.IPPROTO_UDP} {
			rule := portRule{
				family: end.family, protocol: protocol, port: port.Port, guest: end.guest.Addr(), target: port.Target,
			}
			if !address.IsUnspecified() {
				rule.address = address
			}
			rules = append(rules, rule)
		}
	}
	if len(rules) == 0 {
		return nil, fmt.Errorf("%w: the guest has no address of the family of %s",
			ErrHostPort, netip.AddrPortFrom(address, port.Port))
	}
	return rules, nil
}

// checkPort refuses a port that leads to another guest.
func (s *hostState) checkPort(rule portRule) error {
	if s == nil {
		return nil
	}
	for _, name := range []string{setPorts, setAnyPorts} {
		for _, e := range s.elements[name+rule.family.digit] {
			if other := portFrom(name, rule.family, e); rule.conflicts(other) {
				return fmt.Errorf("%w: %s leads to the guest at %s already", ErrHostPort, other, s.owner(name, rule.family, e))
			}
		}
	}
	return nil
}

// checkUnused refuses a port of a process, which would no longer receive packets, and an
// address that the host does not have.
func (p portRule) checkUnused() error {
	err := p.bind()
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		return fmt.Errorf("%w: a process of the host uses %s", ErrHostPort, p)
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return fmt.Errorf("%w: %s is not an address of the host", ErrHostPort, p.address)
	case err != nil:
		return fmt.Errorf("check %s: %w", p, err)
	}
	return nil
}

// bind binds a socket to the port and closes it. A socket that listens is an error.
// Connections that an ended process has left are not.
func (p portRule) bind() error {
	domain, kind := unix.AF_INET, unix.SOCK_DGRAM
	var address unix.Sockaddr
	if p.family == ip4 {
		a := &unix.SockaddrInet4{Port: int(p.port)}
		copy(a.Addr[:], p.address.AsSlice())
		address = a
	} else {
		domain = unix.AF_INET6
		a := &unix.SockaddrInet6{Port: int(p.port)}
		copy(a.Addr[:], p.address.AsSlice())
		address = a
	}
	if p.protocol == unix.IPPROTO_TCP {
		kind = unix.SOCK_STREAM
	}
	fd, err := unix.Socket(domain, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if p.family == ip6 {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1); err != nil {
			return err
		}
	}
	if p.protocol == unix.IPPROTO_TCP {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
			return err
		}
	}
	return unix.Bind(fd, address)
}

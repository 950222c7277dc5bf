// SPDX-License-Identifier: MPL-2.0

package matrix

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"testing"

	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/driver"
)

// The guest starts with every network that leads nowhere.
func TestNone(t *testing.T) {
	t.Parallel()
	for name, network := range map[string]func(alloc *namespace) *drivers.NetworkIsolationSpec{
		"mode none": func(*namespace) *drivers.NetworkIsolationSpec {
			return &drivers.NetworkIsolationSpec{Mode: drivers.NetIsolationModeNone}
		},
		"in a namespace":      group,
		"in the host's":       func(*namespace) *drivers.NetworkIsolationSpec { return nil },
		"in an empty network": func(n *namespace) *drivers.NetworkIsolationSpec { return group(newNamespace(n.t)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if !enterHost(t) {
				return
			}
			alloc := newNamespace(t)
			newTopology(t, alloc, []*family{ipv4, ipv6})
			mode := "none"
			if name == "in an empty network" {
				mode = "auto"
			}
			checkNone(t, alloc, network(alloc), mode)
		})
	}
}

// checkNone checks that neither the host nor the alloc's namespace receives frames of the
// guest.
func checkNone(t *testing.T, alloc *namespace, network *drivers.NetworkIsolationSpec, mode string) {
	t.Helper()
	sniffers := []*sniffer{sniffARP(t, ownNamespace(t)), sniffARP(t, alloc)}
	g := start(t, spec{
		name: "web", driver: newDriver(t, driver.Config{}), network: network, serves: firstPorts,
		job: driver.TaskConfig{
			NetworkMode: mode, Args: []string{"arp", "tcp 10.78.0.1 7 1", "udp fd78::1 7 1", "tcp 127.0.0.1 7 1"},
		},
	})
	g.waitForLine(t, "ready")
	unreachable := failed(unix.ENETUNREACH)
	must.StrHasPrefix(t, "arp: done ", g.waitForLine(t, "arp"))
	must.Eq(t, "tcp 10.78.0.1 7 1: "+unreachable, g.waitForLine(t, "tcp 10.78.0.1"))
	must.Eq(t, "udp fd78::1 7 1: "+unreachable, g.waitForLine(t, "udp fd78::1"))
	must.Eq(t, "tcp 127.0.0.1 7 1: "+failed(unix.ECONNREFUSED), g.waitForLine(t, "tcp 127.0.0.1"))
	for _, s := range sniffers {
		s.requireOnly(t, "192.0.2.99")
	}
}

// A sniffer collects the ARP requests that pass the interfaces of a namespace.
type sniffer struct{ fd int }

func sniffARP(t *testing.T, n *namespace) *sniffer {
	t.Helper()
	protocol := binary.NativeEndian.Uint16([]byte{unix.ETH_P_ARP >> 8, unix.ETH_P_ARP & 0xff})
	s := &sniffer{}
	must.NoError(t, n.enter(func() (err error) {
		s.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, int(protocol))
		return err
	}))
	t.Cleanup(func() { _ = unix.Close(s.fd) })
	return s
}

const (
	arpFrame  = 42 // bytes
	arpTarget = 38 // offset
)

// requireOnly requires that no request of a guest arrived before the test's own request.
func (s *sniffer) requireOnly(t *testing.T, own string) {
	t.Helper()
	frame := make([]byte, arpFrame)
	binary.BigEndian.PutUint16(frame[12:], unix.ETH_P_ARP)
	copy(frame[arpTarget:], netip.MustParseAddr(own).AsSlice())
	must.NoError(t, unix.Sendto(s.fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: 1, Halen: 6})) // lo
	var targets []string
	for {
		n, _, err := unix.Recvfrom(s.fd, frame, 0)
		if errors.Is(err, unix.EAGAIN) {
			break
		}
		must.NoError(t, err)
		must.Eq(t, arpFrame, n)
		target, _ := netip.AddrFromSlice(frame[arpTarget:])
		targets = append(targets, target.String())
	}
	must.SliceContains(t, targets, own)
	must.SliceNotContains(t, targets, "192.0.2.1")
}

// SPDX-License-Identifier: MPL-2.0

package network

import (
	"fmt"
	"io"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/shoenig/test/must"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

func TestBandwidth_SetsRates(t *testing.T) {
	for _, b := range []Bandwidth{{}, {Ingress: 100e6}, {Egress: 1e9}, {Ingress: MinBandwidth, Egress: MinBandwidth}, {Ingress: MaxBandwidth, Egress: MaxBandwidth}} {
		for _, o := range []Options{{}, {AllowSpoofing: true}, {Offload: true, BlockMetadata: true}} {
			o.Bandwidth = b
			a := newAlloc(t, 1500)
			tap := a.attachWith(o)
			a.in(a.path, func(n *namespace) error {
				link, err := n.LinkByName(tap.Name)
				must.NoError(t, err)
				must.Eq(t, b.Ingress, shapedRate(t, n, link))
				must.Eq(t, b.Egress != 0, hasPolicer(t, n, link, b.Egress))
				return nil
			})
			g := newGuest(t, a, tap)
			go serveEcho(listen(t, g.path, "tcp4", guest4+":7"))
			a.echo(t, "tcp4", guest4)
		}
	}
}

// shapedRate returns the rate of an interface's shaper in bits per second, or 0.
func shapedRate(t *testing.T, n *namespace, link netlink.Link) (rate uint64) {
	t.Helper()
	qdiscs, err := n.QdiscList(link)
	must.NoError(t, err)
	for _, q := range qdiscs {
		if shaper, ok := q.(*netlink.Tbf); ok {
			rate = 8 * shaper.Rate
		}
	}
	return rate
}

// hasPolicer reports whether a policer is the first classifier of an interface.
func hasPolicer(t *testing.T, n *namespace, link netlink.Link, rate uint64) bool {
	t.Helper()
	filters, err := n.FilterList(link, ingressHandle)
	must.NoError(t, err)
	return slices.ContainsFunc(filters, func(f netlink.Filter) bool {
		policer, ok := f.(*netlink.BpfFilter)
		return ok && policer.Priority == limitPriority && policer.Name == policerName(rate)
	})
}

func TestBandwidth_LimitsGuestsInEveryMode(t *testing.T) {
	a := newAlloc(t, 1500)
	o := Options{Offload: true, Bandwidth: Bandwidth{Ingress: 10e6, Egress: 20e6}}
	shared, err := AttachShared(a.path, o, Sharing{Rest: true})
	must.NoError(t, err)
	t.Cleanup(func() { _ = shared.Close() })
	host, _, err := a.tryHost(o, hostOptions())
	must.NoError(t, err)
	t.Cleanup(func() { _ = host.Close() })
	a.in(a.path, func(n *namespace) error {
		for _, tap := range []*Tap{shared, host} {
			link, err := n.LinkByName(tap.Name)
			must.NoError(t, err)
			must.Eq(t, o.Bandwidth.Ingress, shapedRate(t, n, link))
			must.True(t, hasPolicer(t, n, link, o.Bandwidth.Egress))
		}
		return nil
	})
}

func TestBandwidth_DropsFloodFromGuest(t *testing.T) {
	for _, o := range []Options{{}, {Offload: true}} {
		a := newAlloc(t, 1500)
		o.Bandwidth = Bandwidth{Egress: MinBandwidth}
		tap := a.attachWith(o)
		peer := newSniffer(t, a.peer, "peer7")
		frames := make([][]byte, 200) // 25 seconds at the rate
		for i := range frames {
			frames[i] = etherFrame(a.mac, broadcastMAC, unix.ETH_P_IP,
				ip4Packet(guest4, peer4, unix.IPPROTO_UDP, 0, udpPacket(1, 2, fmt.Sprintf("frame %-1000d", i))))
		}
		sendAll(t, tap, frames...)
		peer.awaitContent([]byte("frame 0 "))
		c, err := ReadCounters(a.path, tap.Name)
		must.NoError(t, err)
		must.Positive(t, c.DroppedPackets)
		must.Eq(t, uint64(len(frames)), c.SentPackets)
	}
}

func TestBandwidth_DropsFloodToGuest(t *testing.T) {
	a := newAlloc(t, 1500)
	tap := a.attachWith(Options{Bandwidth: Bandwidth{Ingress: MinBandwidth}})
	a.in(a.peer, func(n *namespace) error {
		for i := range 300 { // 37 seconds at the rate
			frame := etherFrame(foreignMAC, a.mac, unix.ETH_P_IP,
				ip4Packet(peer4, guest4, unix.IPPROTO_UDP, 0, udpPacket(1, 2, fmt.Sprintf("frame %-1000d", i))))
			if err := sendFrame(n, "peer7", frame); err != nil {
				return err
			}
		}
		return nil
	})
	must.Wait(t, testenv.EventuallyTrue(func() bool {
		c, err := ReadCounters(a.path, tap.Name)
		return err == nil && c.DroppedPackets > 0
	}))
}

// BenchmarkBandwidth reports the payload that TCP moves in five seconds, as a part of the
// limit.
func BenchmarkBandwidth(b *testing.B) {
	for _, mbit := range []uint64{1, 10, 100, 1000} {
		for _, offload := range []bool{false, true} {
			for _, direction := range []string{"ingress", "egress"} {
				b.Run(fmt.Sprintf("%s=%dmbit/offload=%v", direction, mbit, offload), func(b *testing.B) {
					benchmarkBandwidth(b, direction == "ingress", Options{
						Offload: offload, Bandwidth: Bandwidth{Ingress: mbit * 1e6, Egress: mbit * 1e6},
					})
				})
			}
		}
	}
}

func benchmarkBandwidth(b *testing.B, toGuest bool, o Options) {
	const period = 5 * time.Second
	a := newAlloc(b, 1500)
	g := newGuest(b, a, a.attachWith(o))
	from, to, address := a.peer, g.path, guest4+":7"
	if !toGuest {
		from, to, address = g.path, a.peer, peer4+":7"
	}
	l := listen(b, to, "tcp4", address)
	out := dial(b, from, "tcp4", address)
	in, err := l.Accept()
	must.NoError(b, err)
	b.Cleanup(func() { _ = in.Close() })
	must.NoError(b, out.SetDeadline(time.Time{}))
	go func() { _, _ = io.Copy(out, zeros{}) }() // until the test ends
	for b.Loop() {
		must.NoError(b, in.SetDeadline(time.Now().Add(period)))
		total, err := io.Copy(io.Discard, in)
		must.ErrorIs(b, err, os.ErrDeadlineExceeded)
		b.ReportMetric(float64(total)*8/period.Seconds()/float64(o.Bandwidth.Ingress), "rate")
	}
	b.ReportMetric(0, "ns/op")
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { return len(b), nil }

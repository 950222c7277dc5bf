// SPDX-License-Identifier: MPL-2.0

package network

import (
	"fmt"
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/shoenig/test/must"
)

// BenchmarkShared compares l2 and shared mode: the time of a byte to and from the guest
// through the wire, and of a round trip. It measures both in turn, and reports the ratio
// of the medians: above 1, shared mode is slower. "neighbor" is a round trip of a process
// of the namespace.
func BenchmarkShared(b *testing.B) {
	for _, offload := range []bool{false, true} {
		b.Run(fmt.Sprint("offload=", offload), func(b *testing.B) { compareModes(b, offload) })
	}
}

func compareModes(b *testing.B, offload bool) {
	var modes [2]*sharedBench
	for i, path := range []*alloc{newAlloc(b, 1500), newAlloc(b, 1500)} {
		modes[i] = newSharedBench(b, path, i == 1, Options{Offload: offload})
	}
	times := map[string]*[2][]float64{"to": {}, "from": {}, "round-trip": {}, "neighbor": {}}
	for b.Loop() {
		for i, m := range modes {
			for name, measure := range m.measures {
				start := time.Now()
				measure()
				times[name][i] = append(times[name][i], float64(time.Since(start)))
			}
		}
	}
	for name, pair := range times {
		for i := range pair {
			slices.Sort(pair[i])
		}
		if median := func(t []float64) float64 { return t[len(t)/2] }; len(pair[0]) > 0 {
			b.ReportMetric(median(pair[1])/median(pair[0]), name+"-ratio")
		} else {
			b.ReportMetric(median(pair[1])/benchRounds, "ns/"+name)
		}
	}
	b.ReportMetric(0, "ns/op")
}

const (
	benchBytes  = 32 << 20
	benchRounds = 500
)

type sharedBench struct{ measures map[string]func() }

func newSharedBench(b *testing.B, a *alloc, shared bool, o Options) *sharedBench {
	var g *guest
	if shared {
		g = a.share(b, o, declared(guestPort))
	} else {
		g = newGuest(b, a, a.attachWith(o))
	}
	target := net.JoinHostPort(guest4, fmt.Sprint(guestPort))
	echoes := listen(b, g.path, "tcp4", target)
	go serveEcho(echoes)
	stream := func(from, to net.Conn) func() {
		return func() {
			go func() { _, _ = io.CopyN(from, zeros{}, benchBytes) }()
			_, err := io.CopyN(io.Discard, to, benchBytes)
			must.NoError(b, err)
		}
	}
	rounds := func(c net.Conn) func() {
		return func() {
			for range benchRounds {
				checkEcho(b, c)
			}
		}
	}
	sink := listen(b, a.peer, "tcp4", net.JoinHostPort(peer4, fmt.Sprint(peerPort)))
	out, err := pair(b, sink, g.path, net.JoinHostPort(peer4, fmt.Sprint(peerPort)))
	must.NoError(b, err)
	back, err := pair(b, sink, g.path, net.JoinHostPort(peer4, fmt.Sprint(peerPort)))
	must.NoError(b, err)
	m := map[string]func(){
		"from": stream(out[0], out[1]), "to": stream(back[1], back[0]),
		"round-trip": rounds(benchDial(b, a.peer, target)),
	}
	if shared {
		m["neighbor"] = rounds(benchDial(b, a.path, net.JoinHostPort("127.0.0.1", fmt.Sprint(guestPort))))
	}
	return &sharedBench{m}
}

// pair returns both ends of a connection to a listener.
func pair(b *testing.B, l net.Listener, path, address string) ([2]net.Conn, error) {
	b.Helper()
	client := benchDial(b, path, address)
	server, err := l.Accept()
	if err == nil {
		b.Cleanup(func() { _ = server.Close() })
	}
	return [2]net.Conn{client, server}, err
}

// benchDial connects without a deadline.
func benchDial(b *testing.B, path, address string) net.Conn {
	b.Helper()
	c := dial(b, path, "tcp4", address)
	must.NoError(b, c.SetDeadline(time.Time{}))
	return c
}

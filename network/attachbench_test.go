// SPDX-License-Identifier: MPL-2.0

package network

import (
	"slices"
	"testing"
	"time"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"
)

// BenchmarkAttach measures the modes in turn, so that other work of the machine slows all of
// them. It reports the median times to attach and to detach a guest, and the median processor
// time of both together. "rest" is a guest without ports in shared mode, and "host-beside" one
// in host mode beside another.
func BenchmarkAttach(b *testing.B) {
	for _, c := range []struct {
		name    string
		options Options
	}{{"plain", Options{}}, {"offloads", Options{Offload: true, BlockMetadata: true}}} {
		b.Run(c.name, func(b *testing.B) { compareAttach(b, c.options) })
	}
}

func compareAttach(b *testing.B, o Options) {
	times := make([]attachTimes, 0, 8)
	for _, mode := range attachModes(b, o) {
		times = append(times, attachTimes{attachMode: mode})
		times[len(times)-1].run(b) // reads what the process reads only once
	}
	for b.Loop() {
		for i := range times {
			times[i].run(b)
		}
	}
	median := func(all []time.Duration) float64 {
		slices.Sort(all)
		return float64(all[len(all)/2].Microseconds()) / 1000
	}
	for _, t := range times {
		b.ReportMetric(median(t.attach), "attach-"+t.name+"-ms")
		b.ReportMetric(median(t.detach), "detach-"+t.name+"-ms")
		b.ReportMetric(median(t.processor), "cpu-"+t.name+"-ms")
	}
	b.ReportMetric(0, "ns/op")
}

// An attachMode attaches a guest and detaches it.
type attachMode struct {
	name   string
	attach func() (*Tap, error)
	detach func(tap string) error
}

func attachModes(b *testing.B, o Options) []attachMode {
	l2, shared, host, busy := newAlloc(b, 1500), newAlloc(b, 1500), newHost(b), newHost(b)
	busy.attachHost(b, hostOptions(HostPort{Port: 81, Target: 7}))
	share := func(s Sharing) func() (*Tap, error) {
		return func() (*Tap, error) { return AttachShared(shared.path, o, s) }
	}
	inHost := func(name string, a *alloc) attachMode {
		return attachMode{name, func() (*Tap, error) {
			tap, _, err := a.tryHost(o, hostOptions(HostPort{Port: 80, Target: 7}))
			return tap, err
		}, func(string) error {
			a.detachHost(b)
			return nil
		}}
	}
	return []attachMode{
		{"l2", func() (*Tap, error) { return AttachL2(l2.path, o) }, func(tap string) error { return Detach(l2.path, tap) }},
		{"shared", share(declared(guestPort)), func(tap string) error { return Detach(shared.path, tap) }},
		{"rest", share(Sharing{Rest: true}), func(tap string) error { return Detach(shared.path, tap) }},
		inHost("host", host), inHost("host-beside", busy),
	}
}

type attachTimes struct {
	attachMode
	attach, detach, processor []time.Duration
}

func (t *attachTimes) run(b *testing.B) {
	begin, processor := time.Now(), processTime(b)
	tap, err := t.attachMode.attach()
	must.NoError(b, err)
	t.attach = append(t.attach, time.Since(begin))
	must.NoError(b, tap.Close())
	begin = time.Now()
	must.NoError(b, t.attachMode.detach(tap.Name))
	t.detach = append(t.detach, time.Since(begin))
	t.processor = append(t.processor, processTime(b)-processor)
}

func processTime(b *testing.B) time.Duration {
	b.Helper()
	var t unix.Timespec
	must.NoError(b, unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &t))
	return time.Duration(t.Nano())
}

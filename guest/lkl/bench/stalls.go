// SPDX-License-Identifier: MPL-2.0

package main

import (
	"fmt"
	"os"
	"runtime"
	"sync/atomic"
	"time"
)

// longStall is the time from which an answer counts as stalled.
const longStall = 100 * time.Millisecond

// stalls measure the time that a guest takes to answer. A part of it may be time in which
// the guest, or the client, waited for a processor of the host.
type stalls struct {
	schedule      *os.File // of the guest
	probes        int
	worst, noise  time.Duration // the slowest answer, and its part of waiting for a processor
	long, longOwn int           // answers after longStall, with and without this part
	worstOwn      time.Duration
}

func newStalls(guest int) (*stalls, error) {
	schedule, err := os.Open(fmt.Sprintf("/proc/%d/schedstat", guest))
	return &stalls{schedule: schedule}, err
}

func (s *stalls) close() { _ = s.schedule.Close() }

// waited returns how long a thread has waited for a processor.
func waited(schedule *os.File) (time.Duration, error) {
	text := make([]byte, 128)
	n, err := schedule.ReadAt(text, 0)
	if n == 0 {
		return 0, err
	}
	var ran, queued int64
	_, err = fmt.Sscan(string(text[:n]), &ran, &queued)
	return time.Duration(queued), err
}

// measure calls the probe every millisecond until done. The probe must not need another
// thread of this program, because only the time in which this one waits is known.
func (s *stalls) measure(done *atomic.Bool, probe func() error) error {
	// A thread that returns from the kernel needs one of these to continue.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(runtime.NumCPU() + 8))
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	own, err := os.Open("/proc/thread-self/schedstat")
	if err != nil {
		return err
	}
	defer own.Close()
	for tick := time.NewTicker(time.Millisecond); !done.Load(); <-tick.C {
		if err := s.measureOnce(own, probe); err != nil {
			return fmt.Errorf("probe: %w", err)
		}
	}
	return nil
}

func (s *stalls) measureOnce(own *os.File, probe func() error) error {
	var before, after [2]time.Duration
	var err error
	for i, f := range []*os.File{s.schedule, own} {
		if before[i], err = waited(f); err != nil {
			return err
		}
	}
	start := time.Now()
	if err := probe(); err != nil {
		return err
	}
	took := time.Since(start)
	for i, f := range []*os.File{s.schedule, own} {
		if after[i], err = waited(f); err != nil {
			return err
		}
	}
	s.add(took, min(took, after[0]-before[0]+after[1]-before[1]))
	return nil
}

// add counts an answer that took a time, a part of which was noise.
func (s *stalls) add(took, noise time.Duration) {
	s.probes++
	if took > s.worst {
		s.worst, s.noise = took, noise
	}
	s.worstOwn = max(s.worstOwn, took-noise)
	if took <= longStall {
		return
	}
	s.long++
	if took-noise > longStall {
		s.longOwn++
	}
	fmt.Printf("an answer took %.1f ms, of which guest or client waited %.1f ms for a processor\n", took.Seconds()*1e3, noise.Seconds()*1e3)
}

func (s *stalls) String() string {
	return fmt.Sprintf("of %d probes the slowest took %.1f ms (%.1f ms of it waiting for a processor), %d over 100 ms; "+
		"without waiting for a processor %.1f ms, %d over 100 ms", s.probes, s.worst.Seconds()*1e3, s.noise.Seconds()*1e3, s.long,
		s.worstOwn.Seconds()*1e3, s.longOwn)
}

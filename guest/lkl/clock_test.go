// SPDX-License-Identifier: MPL-2.0

//go:build linux && amd64

package lkl

import (
	"bufio"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/tender"
	"github.com/lkl-nomad/nomad-driver-lkl/tender/spt"
)

// The host holds the guest up while its kernel starts, by not reading what it
// writes: the time of day has to go on meanwhile, and be the host's afterwards,
// with the guest busy or idle.
func TestClock_TellsTheHostsTime(t *testing.T) {
	const heldUp, near = 500 * time.Millisecond, 50 * time.Millisecond
	const samples = 5
	// Apart, so that not all are late when this machine has no processor for who reads them.
	times := words("time sleep 20 time sleep 20 time sleep 20 time sleep 20 time")
	args := slices.Concat(times, words("busy busy busy"), times, words("sleep 3000"), times)
	g, console := tended(t, compiled(t, "probe.c"), image(t, 16, nil), 32<<20, setup{
		config: map[string]any{"debug": "1"}, args: args,
	})
	size, err := unix.FcntlInt(g.Console.Fd(), unix.F_SETPIPE_SZ, 4096)
	must.NoError(t, err)
	_, err = g.Console.WriteString(strings.Repeat("x", size-1) + "\n") // it is full: the kernel's first line has to wait
	must.NoError(t, err)
	p, err := spt.Start(g, tender.Jail{})
	must.NoError(t, err)
	t.Cleanup(func() { _ = p.Signal(syscall.SIGKILL) }) // if it has not ended
	must.NoError(t, g.Console.Close())                  // the guest has its own, whose end is then seen
	// Not a wait for something: this is the time that is taken from it.
	<-time.After(heldUp)
	var behind []time.Duration // what the guest told as the time, when it got here
	lines := bufio.NewScanner(console)
	for lines.Scan() {
		if at, found := strings.CutPrefix(lines.Text(), "time "); found {
			guest, err := strconv.ParseInt(at, 10, 64)
			must.NoError(t, err)
			behind = append(behind, time.Since(time.Unix(0, guest)))
		}
	}
	exit, err := p.Wait()
	must.NoError(t, err)
	must.Eq(t, tender.Exit{}, exit)
	must.Len(t, 3*samples, behind)
	for ; len(behind) > 0; behind = behind[samples:] {
		// Of several the least says how late the clock is: the rest is the way to here.
		least := slices.Min(behind[:samples])
		t.Logf("behind the host by at most %s", least)
		must.Between(t, -near/10, least, near)
	}
}

// The host's wall clock cannot be set here: the program stands between the
// guest's kernel and Solo5's clock, and moves what that tells.
func TestClock_FollowsStepsOfTheHosts(t *testing.T) {
	lines, status := run(t, setup{kernel: compiled(t, "walls.c", "-Wl,--wrap=solo5_clock_wall")})
	must.Eq(t, []string{
		"at first: followed",
		"without a step: followed",
		"sleeper: woken",
		"timer: Operation canceled",
		"monotonic clock: goes on",
		"an hour ahead: followed",
		"two hours back: followed",
		"a fifth of a second: followed",
		"set by the program: followed",
		"a minute beyond that: followed",
	}, lines)
	must.Eq(t, 0, status)
}

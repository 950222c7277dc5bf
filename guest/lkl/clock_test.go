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
	"github.com/shoenig/test/wait"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/tender"
	"github.com/lkl-nomad/nomad-driver-lkl/tender/spt"
)

// A full console pipe blocks the guest while its kernel boots. Afterwards the
// guest's time of day must match the host's, whether the guest is busy or idle.
func TestClock_MatchesHostAfterDelayedBoot(t *testing.T) {
	const blockedFor, tolerance = 2 * time.Second, 500 * time.Millisecond
	const samples = 20
	// The pauses keep one busy moment of the host from delaying all samples of a group.
	times := strings.Fields(strings.Repeat("time sleep 20 ", samples))
	args := slices.Concat(times, strings.Fields("busy busy busy"), times, strings.Fields("sleep 3000"), times)
	g, console := newTenderGuest(t, guestSpec{
		kernel: compileGuest(t, "probe.c"), root: buildImage(t, 16, nil), memory: "32",
		config: map[string]any{"debug": "1"}, args: args,
	})
	size, err := unix.FcntlInt(g.Console.Fd(), unix.F_SETPIPE_SZ, 4096)
	must.NoError(t, err)
	_, err = g.Console.WriteString(strings.Repeat("x", size-1) + "\n") // fills the pipe: the kernel's first line blocks
	must.NoError(t, err)
	p, err := spt.Start(g, tender.Jail{})
	must.NoError(t, err)
	t.Cleanup(func() { _ = p.Signal(syscall.SIGKILL) }) // in case the test fails before Wait
	pipeIsFull := func() bool {
		pending, err := unix.IoctlGetInt(int(g.Console.Fd()), unix.TIOCINQ)
		return err == nil && pending == size
	}
	must.Wait(t, wait.ContinualSuccess(wait.BoolFunc(pipeIsFull), wait.Timeout(blockedFor), wait.Gap(blockedFor/10)))
	must.NoError(t, g.Console.Close()) // so that the scanner sees the end of the guest's copy
	var behind []time.Duration         // host time on arrival minus the time that the guest printed
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
		// Each sample also contains the delay of the console, so only the smallest is close to the clock's error.
		smallest := slices.Min(behind[:samples])
		t.Logf("behind the host by at most %s", smallest)
		must.Between(t, -tolerance, smallest, tolerance)
	}
}

// A test cannot set the host's clock. The program wraps solo5_clock_wall
// instead, and adds an offset to the time that the guest's kernel reads.
func TestClock_FollowsHostClockSteps(t *testing.T) {
	lines, status := runGuest(t, guestSpec{kernel: compileGuest(t, "wallclock.c", "-Wl,--wrap=solo5_clock_wall")})
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

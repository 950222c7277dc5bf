// SPDX-License-Identifier: MPL-2.0

//go:build linux && amd64

package lkl

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/tender"
	"github.com/lkl-nomad/nomad-driver-lkl/tender/spt"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// startIdleGuest starts a guest with root and network whose program waits for a
// signal, and reads its console up to that point.
func startIdleGuest(t *testing.T, memory string) (p *spt.Process, console *os.File) {
	t.Helper()
	testenv.Need(t, testenv.Root)
	g, console := newTenderGuest(t, guestSpec{
		kernel: testenv.Guest(t, "lkl-hello.spt"), root: buildImage(t, 64, nil), memory: memory,
		config: defaultNetwork, args: []string{"wait"},
	})
	p, err := spt.Start(g, tender.Jail{})
	must.NoError(t, err)
	t.Cleanup(func() {
		_ = p.Signal(syscall.SIGKILL)
		_, _ = p.Wait()
	})
	lines := bufio.NewReader(console)
	greeting, err := lines.ReadString('\n')
	must.NoError(t, err)
	must.StrHasPrefix(t, "Hello from Linux 6.1.", greeting)
	argument, err := lines.ReadString('\n')
	must.NoError(t, err)
	must.Eq(t, "argument: wait\n", argument)
	return p, console
}

// readProcNumber returns the number after a name in a file of /proc/PID.
func readProcNumber(t *testing.T, p *spt.Process, file, name string) (n int64) {
	t.Helper()
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", p.Pid, file))
	must.NoError(t, err)
	_, rest, found := strings.Cut("\n"+string(content), "\n"+name)
	must.True(t, found)
	_, err = fmt.Sscan(rest, &n)
	must.NoError(t, err)
	return n
}

func TestIdle_UsesLittleMemory(t *testing.T) {
	for _, memory := range []string{"12", "64"} {
		p, _ := startIdleGuest(t, memory)
		used := readProcNumber(t, p, "smaps_rollup", "Anonymous:")
		t.Logf("a guest with %s MB uses %d KiB of host memory", memory, used)
		must.Between(t, 100, used, 8<<10)
	}
}

// Other load on the host does not change the number of wake-ups. It does change
// their processor time, so the limit of that one only excludes polling.
func TestIdle_Sleeps(t *testing.T) {
	p, console := startIdleGuest(t, "64")
	const window = 3 * time.Second
	const wakeUps = "voluntary_ctxt_switches:"
	spent, woken := readProcNumber(t, p, "schedstat", ""), readProcNumber(t, p, "status", wakeUps)
	began := time.Now()
	must.NoError(t, console.SetReadDeadline(began.Add(window)))
	_, err := console.Read(make([]byte, 1))
	must.ErrorIs(t, err, os.ErrDeadlineExceeded, must.Sprint("an idle guest prints nothing"))
	spent, woken = readProcNumber(t, p, "schedstat", "")-spent, readProcNumber(t, p, "status", wakeUps)-woken
	took := time.Since(began)
	t.Logf("in %s: %s of processor time, %d wake-ups", took, time.Duration(spent), woken)
	must.Less(t, int64(took/20), spent)
	must.Less(t, 20*took.Seconds(), float64(woken))
}

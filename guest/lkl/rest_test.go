// SPDX-License-Identifier: MPL-2.0

//go:build linux && amd64

package lkl

import (
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

// resting starts hello, with root and network, which then waits for ever.
func resting(t *testing.T, memory uint64) *spt.Process {
	t.Helper()
	testenv.Need(t, testenv.Root)
	g, console := tended(t, testenv.Guest(t, "lkl-hello.spt"), image(t, 64, nil), memory, setup{config: network, args: words("wait")})
	p, err := spt.Start(g, tender.Jail{})
	must.NoError(t, err)
	t.Cleanup(func() {
		_ = p.Signal(syscall.SIGKILL)
		_, _ = p.Wait()
	})
	line := make([]byte, 64)
	n, err := console.Read(line)
	must.NoError(t, err)
	must.StrHasPrefix(t, "Hello from Linux 6.1.", string(line[:n]))
	return p
}

// number is the one after a name in a file of /proc/PID.
func number(t *testing.T, p *spt.Process, file, name string) (n int64) {
	t.Helper()
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", p.Pid, file))
	must.NoError(t, err)
	_, rest, found := strings.Cut("\n"+string(content), "\n"+name)
	must.True(t, found)
	_, err = fmt.Sscan(rest, &n)
	must.NoError(t, err)
	return n
}

func TestRest_LittleMemoryIsTaken(t *testing.T) {
	for _, memory := range []uint64{12, 64} {
		p := resting(t, memory<<20)
		taken := number(t, p, "smaps_rollup", "Anonymous:")
		t.Logf("%d MB of memory: %d KiB taken", memory, taken)
		must.Between(t, 100, taken, 8<<10)
	}
}

// Load on the machine adds neither to the time that the guest computes nor to
// the times that it waits anew.
func TestRest_NothingIsDone(t *testing.T) {
	p := resting(t, 64<<20)
	const window = 3 * time.Second
	const wakeUps = "voluntary_ctxt_switches:"
	spent, woken := number(t, p, "schedstat", ""), number(t, p, "status", wakeUps)
	// Not a wait for something: this is the time in which nothing should happen.
	<-time.After(window)
	spent, woken = number(t, p, "schedstat", "")-spent, number(t, p, "status", wakeUps)-woken
	t.Logf("in %s: %s of a processor, %d wake-ups", window, time.Duration(spent), woken)
	must.Less(t, int64(window/1000), spent)
	must.Less(t, 60, woken)
}

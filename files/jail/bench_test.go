// SPDX-License-Identifier: MPL-2.0

package jail

import (
	"os"
	"syscall"
	"testing"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/files"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// The time from the start of a server to its report that it is ready.
func BenchmarkStart(b *testing.B) {
	testenv.Need(b, testenv.Root)
	executable, err := os.Open(testenv.FileServer(b))
	must.NoError(b, err)
	defer executable.Close()
	share, err := unix.Open(b.TempDir(), unix.O_PATH|unix.O_CLOEXEC, 0)
	must.NoError(b, err)
	defer closeAll([]int{share})
	plan := files.Plan{Version: files.Version, Shares: make([]files.Share, 3)}
	for b.Loop() {
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
		must.NoError(b, err)
		s, err := Start(plan, Files{Program: int(executable.Fd()), Conn: pair[1], Shares: []int{share, share, share}})
		must.NoError(b, err)
		must.NoError(b, s.AwaitReady())
		b.StopTimer()
		closeAll(pair[:])
		var status syscall.WaitStatus
		_, err = syscall.Wait4(s.Pid, &status, 0, nil)
		must.NoError(b, err)
		must.Eq(b, "exited with 0", s.Ended(status))
		b.StartTimer()
	}
}

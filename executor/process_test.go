// SPDX-License-Identifier: MPL-2.0

package executor

import (
	"os"
	"os/exec"
	"testing"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"
)

func TestProcess_DiffersFromOthersWithTheSamePID(t *testing.T) {
	self, err := FindProcess(os.Getpid())
	must.NoError(t, err)
	must.True(t, self.Alive())
	for _, other := range []Process{
		{},
		{Pid: -1, StartTime: self.StartTime, BootID: self.BootID},
		{Pid: self.Pid, StartTime: self.StartTime + 1, BootID: self.BootID},
		{Pid: self.Pid, StartTime: self.StartTime, BootID: "another"},
	} {
		must.False(t, other.Alive())
		must.ErrorIs(t, other.Signal(unix.SIGKILL), ErrGone)
	}
}

func TestProcess_TreatsAZombieAsGone(t *testing.T) {
	cmd := exec.Command("cat")
	in, err := cmd.StdinPipe()
	must.NoError(t, err)
	must.NoError(t, cmd.Start())
	p, err := FindProcess(cmd.Process.Pid)
	must.NoError(t, err)
	must.NoError(t, in.Close())
	must.NoError(t, unix.Waitid(unix.P_PID, p.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil))
	must.False(t, p.Alive())
	must.ErrorIs(t, p.Signal(unix.SIGKILL), ErrGone)
	must.NoError(t, cmd.Wait())
	_, err = FindProcess(p.Pid)
	must.ErrorIs(t, err, ErrGone)
}

func TestReadStats_RejectsAnotherProcessWithThePID(t *testing.T) {
	self, err := FindProcess(os.Getpid())
	must.NoError(t, err)
	self.StartTime++
	_, err = ReadStats(t.TempDir(), Identity{Guest: self}, nil)
	must.ErrorIs(t, err, ErrGone)
}

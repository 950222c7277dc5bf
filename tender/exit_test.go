// SPDX-License-Identifier: MPL-2.0

package tender_test

import (
	"os/exec"
	"syscall"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/tender"
)

func TestExit_HasReasonAndStatus(t *testing.T) {
	for _, c := range []struct {
		exit   tender.Exit
		reason string
		status int
	}{
		{tender.Exit{}, "exited with 0", 0},
		{tender.Exit{Code: 3}, "exited with 3", 3},
		{tender.Exit{Code: 255}, "guest aborted (exit code 255)", 255},
		{tender.Exit{Signal: syscall.SIGSEGV}, "guest fault (SIGSEGV)", 139},
		{tender.Exit{Signal: syscall.SIGILL}, "guest fault (SIGILL)", 132},
		{tender.Exit{Signal: syscall.SIGSYS}, "forbidden system call (SIGSYS)", 159},
		{tender.Exit{Signal: syscall.SIGPIPE}, "console closed (SIGPIPE)", 141},
		{tender.Exit{Signal: syscall.SIGKILL}, "killed by SIGKILL", 137},
		{tender.Exit{Signal: syscall.Signal(40)}, "killed by signal 40", 168},
		{tender.Exit{Signal: tender.SignalNotStarted}, "the system call filter could not be installed", 144},
	} {
		must.Eq(t, c.reason, c.exit.Reason())
		must.Eq(t, c.status, c.exit.Status())
	}
}

func TestExitOf_ConvertsWaitStatuses(t *testing.T) {
	for script, want := range map[string]tender.Exit{
		"exit 0":        {},
		"exit 200":      {Code: 200},
		"kill -TERM $$": {Signal: syscall.SIGTERM},
	} {
		c := exec.Command("/bin/sh", "-c", script)
		_ = c.Run() // the test checks its status
		must.Eq(t, want, tender.ExitOf(c.ProcessState.Sys().(syscall.WaitStatus)))
	}
}

// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"strconv"
	"syscall"
	"testing"

	"github.com/shoenig/test/must"
)

func TestLinux_StandardErrorIsSeparate(t *testing.T) {
	for argv0, name := range map[string]string{"": "kernel", "/bin/ls": "/bin/ls"} {
		p := newTestPlugin(t)
		task := p.linux(t, "streams.c", TaskConfig{Argv0: argv0})
		_, _, err := p.StartTask(task)
		must.NoError(t, err)
		must.Zero(t, p.wait(t, task).ExitCode)
		waitFor(t, "both outputs", func() bool {
			return console(task) == "out "+name+" terminal 0\n" && errorsOf(task) == "err "+name+" terminal 0\n"
		})
	}
}

func TestLinux_ResultHasTheMessageOfTheGuest(t *testing.T) {
	p := newTestPlugin(t)
	task := p.linux(t, "streams.c", TaskConfig{Args: []string{strconv.Itoa(int(syscall.SIGABRT))}})
	_, _, err := p.StartTask(task)
	must.NoError(t, err)
	result := p.wait(t, task)
	must.Eq(t, 134, result.ExitCode)
	must.EqError(t, result.Err, "exited with 134: the program was killed by signal 6 (SIGABRT)")
	waitFor(t, "the guest's message", func() bool {
		return errorsOf(task) == "err kernel terminal 0\nlkl: the program was killed by signal 6 (SIGABRT)\n"
	})
}

func TestLinux_LegacyGuestHasOneOutput(t *testing.T) {
	p := newTestPlugin(t)
	task := p.linux(t, "streams.c", TaskConfig{})
	removeFeatures(t, task)
	_, _, err := p.StartTask(task)
	must.NoError(t, err)
	must.Zero(t, p.wait(t, task).ExitCode)
	waitForLine(t, task, "err solo5 terminal 0")
	must.Eq(t, "out solo5 terminal 0\nerr solo5 terminal 0\n", console(task))
	must.Eq(t, "", errorsOf(task))
}

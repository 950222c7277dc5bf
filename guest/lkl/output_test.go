// SPDX-License-Identifier: MPL-2.0

package lkl

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// outputCommand runs testdata/output.c as a guest called lkl-printer.spt.
func outputCommand(t *testing.T, options []string, args ...string) *exec.Cmd {
	t.Helper()
	kernel := filepath.Join(t.TempDir(), "lkl-printer.spt")
	must.NoError(t, os.Link(compileGuest(t, "output.c"), kernel))
	control, theirs := socketPair(t)
	cable, tap := socketPair(t)
	t.Cleanup(func() { _ = errors.Join(control.Close(), theirs.Close(), cable.Close(), tap.Close()) })
	words := []string{"run", "--mem=32", "--net:control=@3", "--net:tap=@4", "--block:rootfs=" + buildImage(t, 16, nil)}
	words = append(append(append(words, options...), "--", kernel, "--"), args...)
	cmd := exec.CommandContext(t.Context(), testenv.Plugin(t), words...)
	cmd.ExtraFiles = []*os.File{theirs, tap}
	return cmd
}

// plainOutput is the standard output of output.c if it is not a terminal.
func plainOutput(name string) string {
	return "isatty 0 0 0\nargv[0] " + name + ", name " + name + ", comm " + filepath.Base(name) + "\nuptime 1 1 1\n" +
		"lseek fails, poll 1, epoll 0, bad pointer Bad address\n" +
		"by writev\nby /dev/stdout\nby /proc/self/fd/1\nby /dev/console\n"
}

const plainErrors = "to stderr\nby /dev/stderr\nby /proc/self/fd/2\n"

func TestOutput_SeparatesStandardError(t *testing.T) {
	for _, user := range []string{"0", "1000"} {
		var stdout, stderr bytes.Buffer
		cmd := outputCommand(t, nil, user)
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		must.NoError(t, cmd.Run())
		must.Eq(t, plainOutput("printer"), stdout.String())
		must.Eq(t, plainErrors, stderr.String())
	}
}

func TestOutput_MessagesOfTheGuestGoToStandardError(t *testing.T) {
	var stdout, stderr bytes.Buffer
	cmd := outputCommand(t, nil, "0", "abort")
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	must.Error(t, cmd.Run())
	must.Eq(t, 134, cmd.ProcessState.ExitCode())
	must.Eq(t, plainOutput("printer"), stdout.String())
	must.Eq(t, plainErrors+"lkl: the program was killed by signal 6 (SIGABRT)\n", stderr.String())
}

func TestOutput_ArgumentZeroIsAnOption(t *testing.T) {
	for _, name := range []string{"ls", "/usr/bin/tr'i\"c\\ky é"} {
		var stdout bytes.Buffer
		cmd := outputCommand(t, []string{"--argv0=" + name})
		cmd.Stdout = &stdout
		must.NoError(t, cmd.Run())
		must.Eq(t, plainOutput(name), stdout.String())
	}
}

// openTerminal returns both ends of a new terminal.
func openTerminal(t *testing.T) (screen, terminal *os.File) {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	must.NoError(t, err)
	must.NoError(t, unix.IoctlSetPointerInt(int(screen.Fd()), unix.TIOCSPTLCK, 0))
	number, err := unix.IoctlGetInt(int(screen.Fd()), unix.TIOCGPTN)
	must.NoError(t, err)
	terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	must.NoError(t, err)
	t.Cleanup(func() { _ = errors.Join(screen.Close(), terminal.Close()) })
	return screen, terminal
}

func TestOutput_IsATerminalWhereTheHostHasOne(t *testing.T) {
	for _, tc := range []struct {
		stdout, stderr bool
		want           string
	}{
		{true, true, "isatty 0 1 1"}, {true, false, "isatty 0 1 0"}, {false, true, "isatty 0 0 1"},
	} {
		screen, terminal := openTerminal(t)
		var file bytes.Buffer
		cmd := outputCommand(t, nil, "1000")
		cmd.Stdout, cmd.Stderr = &file, &file
		if tc.stdout {
			cmd.Stdout = terminal
		}
		if tc.stderr {
			cmd.Stderr = terminal
		}
		must.NoError(t, cmd.Start())
		must.NoError(t, terminal.Close())
		shown, err := io.ReadAll(screen)
		// Linux reports the end of a terminal in this way.
		must.True(t, err == nil || errors.Is(err, syscall.EIO), must.Sprint(err))
		must.NoError(t, cmd.Wait())
		all := strings.ReplaceAll(string(shown), "\r", "") + file.String()
		must.StrContains(t, all, tc.want)
		for _, line := range strings.SplitAfter(plainErrors+"by /dev/stdout\nby /proc/self/fd/1\nby /dev/console\n", "\n") {
			must.StrContains(t, all, line)
		}
	}
}

// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// openTerminal returns both ends of a new terminal with this number of columns.
func openTerminal(t *testing.T, columns uint16) (screen, terminal *os.File) {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	must.NoError(t, err)
	t.Cleanup(func() { _ = screen.Close() })
	fd := int(screen.Fd())
	must.NoError(t, unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0))
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	must.NoError(t, err)
	must.NoError(t, unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: columns}))
	terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	must.NoError(t, err)
	t.Cleanup(func() { _ = terminal.Close() })
	return screen, terminal
}

// pullOnTerminal pulls an image with stderr on a terminal, and returns what the terminal
// shows, and the standard output.
func pullOnTerminal(t *testing.T, columns uint16, term string) (shown, stdout string) {
	t.Helper()
	state, r := stateDir(t), startRegistry(t)
	reference := r.push(t, "lkl-hello.spt", "hello")
	screen, terminal := openTerminal(t, columns)
	c := exec.Command(testenv.LKL(t), "image", "pull", "--plain-http", state, reference)
	c.Env = append(os.Environ(), "TERM="+term)
	var output strings.Builder
	c.Stderr, c.Stdout = terminal, &output
	must.NoError(t, c.Start())
	must.NoError(t, terminal.Close())
	content, err := io.ReadAll(screen)
	// Linux reports the end of a terminal in this way.
	must.True(t, err == nil || errors.Is(err, syscall.EIO), must.Sprint(err))
	must.NoError(t, c.Wait(), must.Sprint(string(content)))
	return string(content), output.String()
}

func TestImagePull_DrawsABarOnATerminal(t *testing.T) {
	shown, stdout := pullOnTerminal(t, 100, "xterm")
	lines := strings.Split(shown, "\r")
	must.StrContains(t, shown, "/hello:latest [..")
	must.StrContains(t, shown, "] downloading ")
	must.Eq(t, "\x1b[K", lines[len(lines)-1]) // the bar is removed
	for _, line := range lines {
		must.LessEq(t, 100, len(strings.TrimSuffix(line, "\x1b[K")))
		must.StrNotContains(t, line, "\n")
	}
	must.StrContains(t, stdout, "digest  sha256:")
}

func TestImagePull_ADumbTerminalIsAPipe(t *testing.T) {
	shown, stdout := pullOnTerminal(t, 100, "dumb")
	must.StrNotContains(t, shown, "\x1b")
	must.StrNotContains(t, shown, "[")
	must.StrContains(t, stdout, "digest  sha256:")
}

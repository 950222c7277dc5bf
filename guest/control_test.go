// SPDX-License-Identifier: MPL-2.0

package guest

import (
	"bufio"
	"context"
	"os"
	"testing"

	"github.com/shoenig/test"
	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// The executor connects the device "control" to a pair of datagram sockets, as
// this test does.
func TestControl_PrintsFramesAndStops(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	must.NoError(t, err)
	ours, theirs := os.NewFile(uintptr(fds[0]), "ours"), os.NewFile(uintptr(fds[1]), "theirs")
	t.Cleanup(func() { _ = ours.Close() })

	ctx, cancel := context.WithTimeout(t.Context(), testenv.Patience)
	defer cancel()
	cmd := guestCommand(ctx, t, []string{"--net:control=@3"}, "control.spt", "delay=10")
	cmd.ExtraFiles = []*os.File{theirs}
	out, err := cmd.StdoutPipe()
	must.NoError(t, err)
	must.NoError(t, cmd.Start())
	must.NoError(t, theirs.Close())

	lines := bufio.NewScanner(out)
	expect := func(line string) {
		t.Helper()
		must.True(t, lines.Scan(), must.Sprint(lines.Err()))
		test.Eq(t, line, lines.Text())
	}
	expect("control: waiting")
	for _, frame := range []string{"signal 1", "stop 15"} {
		_, err := ours.WriteString(frame)
		must.NoError(t, err)
		expect("control: " + frame)
	}
	expect("control: stopping")
	test.False(t, lines.Scan())
	test.NoError(t, cmd.Wait())
}

// SPDX-License-Identifier: MPL-2.0

package lkl

import (
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/shoenig/test"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv/ext4"
)

func TestControl_SignalRunsProgramHandler(t *testing.T) {
	g := startGuest(t, guestSpec{args: strings.Fields("catch 10 say after exit 4")})
	g.expectLine(t, "waiting for 10")
	g.sendControl(t, "signal 10")
	lines, status := g.waitExit(t)
	test.Eq(t, []string{"waiting for 10", "caught 10", "after"}, lines)
	test.Eq(t, 4, status)
}

func TestControl_StopRunsHandlerAndSyncsDisk(t *testing.T) {
	g := startGuest(t, guestSpec{args: strings.Fields("write /early catch 15 write /late exit 5")})
	g.expectLine(t, "waiting for 15")
	g.sendControl(t, "stop 15")
	lines, status := g.waitExit(t)
	test.Eq(t, "write: done", lastLine(lines))
	test.Eq(t, 5, status)
	requireCleanDisk(t, g.root)
	for _, path := range []string{"/early", "/late"} {
		content, err := ext4.ReadFile(g.root, path)
		test.NoError(t, err)
		test.Eq(t, "written\n", string(content))
	}
}

func TestControl_StopWithoutHandlerEndsProgram(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGKILL} {
		g := startGuest(t, guestSpec{args: strings.Fields("write /file say ready sleep 60000")})
		g.expectLine(t, "ready")
		g.sendControl(t, "stop "+strconv.Itoa(int(sig)))
		lines, status := g.waitExit(t)
		test.Eq(t, "ready", lastLine(lines))
		test.Eq(t, exitBySignal(sig), status)
		requireCleanDisk(t, g.root)
	}
}

func TestControl_ReportsAndDropsUnknownFrames(t *testing.T) {
	g := startGuest(t, guestSpec{args: strings.Fields("catch 12")})
	g.expectLine(t, "waiting for 12")
	g.sendControl(t, "\x33\x33\x00\x00\x00\x16 an Ethernet frame, which the guest drops silently")
	for _, frame := range []string{"nonsense", "signal", "signal x", "signal 65", "stop 0"} {
		g.sendControl(t, frame)
		test.Eq(t, "lkl: unknown frame on the control device: "+frame, g.expectLine(t, "lkl: "))
	}
	g.sendControl(t, "signal 12\n")
	lines, status := g.waitExit(t)
	test.Eq(t, "caught 12", lastLine(lines))
	test.Eq(t, 0, status)
}

// A mapping that still exists when the program ends keeps its file open.
func TestControl_StopWritesSharedMappingsBack(t *testing.T) {
	g := startGuest(t, guestSpec{args: strings.Fields("map /file say ready sleep 60000")})
	g.expectLine(t, "ready")
	g.sendControl(t, "stop 15")
	lines, status := g.waitExit(t)
	test.Eq(t, []string{"map: done", "ready"}, lines)
	test.Eq(t, exitBySignal(syscall.SIGTERM), status)
	requireCleanDisk(t, g.root)
	content, err := ext4.ReadFile(g.root, "/file")
	must.NoError(t, err)
	must.SliceLen(t, 8192, content)
	test.Eq(t, "mapped", string(content[4096:4102]))
}

func TestKill_KeepsSyncedFiles(t *testing.T) {
	root := buildImage(t, 16, nil)
	g := startGuest(t, guestSpec{root: root, args: strings.Fields("write /before sync write /after say ready sleep 60000")})
	g.expectLine(t, "ready")
	must.NoError(t, g.Process.Kill())
	_, _ = g.waitExit(t)

	lines, status := runGuest(t, guestSpec{root: root, args: strings.Fields("file /before write /new")})
	test.Eq(t, []string{"/before: written", "write: done"}, lines)
	test.Eq(t, 0, status)
	requireCleanDisk(t, root)
}

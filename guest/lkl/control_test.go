// SPDX-License-Identifier: MPL-2.0

package lkl

import (
	"syscall"
	"testing"

	"github.com/shoenig/test"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/disk"
)

func TestControl_SignalReachesTheProgramsHandler(t *testing.T) {
	g := start(t, setup{args: words("catch 10 say after exit 4")})
	g.expect(t, "waiting for 10")
	g.send(t, "signal 10")
	lines, status := g.end(t)
	test.Eq(t, []string{"waiting for 10", "caught 10", "after"}, lines)
	test.Eq(t, 4, status)
}

func TestControl_StopRunsTheHandlerAndLeavesTheDiskClean(t *testing.T) {
	g := start(t, setup{args: words("write /early catch 15 write /late exit 5")})
	g.expect(t, "waiting for 15")
	g.send(t, "stop 15")
	lines, status := g.end(t)
	test.Eq(t, "write: done", last(lines))
	test.Eq(t, 5, status)
	clean(t, g.root)
	for _, path := range []string{"/early", "/late"} {
		content, err := disk.Get(t.Context(), g.root, path)
		test.NoError(t, err)
		test.Eq(t, "written\n", string(content))
	}
}

func TestControl_StopWithoutAHandlerEndsTheProgram(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGKILL} {
		g := start(t, setup{args: words("write /file say ready sleep 60000")})
		g.expect(t, "ready")
		g.send(t, "stop "+decimal(int(sig)))
		lines, status := g.end(t)
		test.Eq(t, "ready", last(lines))
		test.Eq(t, bySignal(sig), status)
		clean(t, g.root)
	}
}

func TestControl_OtherFramesAreToldAndDropped(t *testing.T) {
	g := start(t, setup{args: words("catch 12")})
	g.expect(t, "waiting for 12")
	g.send(t, "\x33\x33\x00\x00\x00\x16 an Ethernet frame, of which nothing is said")
	for _, frame := range []string{"nonsense", "signal", "signal x", "signal 65", "stop 0"} {
		g.send(t, frame)
		test.Eq(t, "lkl: unknown frame on the control device: "+frame, g.expect(t, "lkl: "))
	}
	g.send(t, "signal 12\n")
	lines, status := g.end(t)
	test.Eq(t, "caught 12", last(lines))
	test.Eq(t, 0, status)
}

// A mapping that is there at the end holds its file open.
func TestStop_WritesSharedMappingsBack(t *testing.T) {
	g := start(t, setup{args: words("map /file say ready sleep 60000")})
	g.expect(t, "ready")
	g.send(t, "stop 15")
	lines, status := g.end(t)
	test.Eq(t, []string{"map: done", "ready"}, lines)
	test.Eq(t, bySignal(syscall.SIGTERM), status)
	clean(t, g.root)
	content, err := disk.Get(t.Context(), g.root, "/file")
	must.NoError(t, err)
	must.SliceLen(t, 8192, content)
	test.Eq(t, "mapped", string(content[4096:4102]))
}

func TestKill_LeavesWhatWasSynced(t *testing.T) {
	root := image(t, 16, nil)
	g := start(t, setup{root: root, args: words("write /before sync write /after say ready sleep 60000")})
	g.expect(t, "ready")
	must.NoError(t, g.Process.Kill())
	_, _ = g.end(t)

	lines, status := run(t, setup{root: root, args: words("file /before write /new")})
	test.Eq(t, []string{"/before: written", "write: done"}, lines)
	test.Eq(t, 0, status)
	clean(t, root)
}

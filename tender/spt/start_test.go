// SPDX-License-Identifier: MPL-2.0

//go:build linux && amd64

package spt

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/tender"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
)

// startFails starts a guest that cannot start and returns the error. No file
// and no process is left of it.
func startFails(t *testing.T, g *tender.Guest, j tender.Jail) error {
	t.Helper()
	g.Console = os.Stdout
	before := openFDs(t)
	_, err := Start(g, j)
	must.Error(t, err)
	must.Eq(t, before, openFDs(t))
	_, waitErr := unix.Wait4(-1, nil, unix.WNOHANG, nil)
	must.ErrorIs(t, waitErr, unix.ECHILD)
	return err
}

func openFDs(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	must.NoError(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	slices.Sort(names)
	return names
}

func TestStart_NamesTheStepThatFailed(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	err := startFails(t, guestOf(t, idle()), tender.Jail{Root: missing})
	must.ErrorIs(t, err, ErrNotStarted)
	must.StrContains(t, err.Error(), "changing the root directory to "+missing+": ")
	must.ErrorIs(t, err, syscall.ENOENT)
}

// Each step in turn is a system call that does not exist.
func TestLaunch_EveryStepReportsItsFailure(t *testing.T) {
	g := guestOf(t, idle())
	disk(t, g, tender.Device{Name: "disk", Capacity: 4096, BlockSize: 512})
	g.Console = os.Stdout
	for i, steps := 0, 1; i < steps; i++ {
		table, err := newTable(g, tender.Jail{DieWithParent: true}, inOrder(g), true)
		must.NoError(t, err)
		steps = len(table.steps)
		table.steps[i].number = 4000
		plan, err := table.plan(g, inOrder(g))
		must.NoError(t, err)
		process, err := plan.launch(g, inOrder(g), false)
		if i == steps-1 { // the filter, when nobody listens any more
			must.NoError(t, err)
			exit, err := process.Wait()
			must.NoError(t, err)
			must.Eq(t, tender.Exit{Signal: tender.SignalNotStarted}, exit)
			continue
		}
		must.ErrorIs(t, err, ErrNotStarted)
		must.ErrorIs(t, err, syscall.ENOSYS)
		must.StrContains(t, err.Error(), table.steps[i].what)
	}
}

func TestStart_TellsThatMemoryIsShort(t *testing.T) {
	mode, err := os.ReadFile("/proc/sys/vm/overcommit_memory")
	must.NoError(t, err)
	if strings.TrimSpace(string(mode)) == "1" {
		t.Skip("the kernel gives out more memory than it has: vm.overcommit_memory is 1")
	}
	g := guestOf(t, idle())
	g.Memory = 1<<40 - 1<<30
	err = startFails(t, g, tender.Jail{})
	must.ErrorIs(t, err, syscall.ENOMEM)
	must.StrContains(t, err.Error(), "guest memory")
}

func TestStart_RefusesAKernelThatHasShrunk(t *testing.T) {
	g := guestOf(t, idle())
	must.NoError(t, os.Truncate(g.Kernel.Name(), 100))
	err := startFails(t, g, tender.Jail{})
	must.StrContains(t, err.Error(), "changed")
}

func TestStart_RefusesWhatItCannotRun(t *testing.T) {
	for name, spoil := range map[string]func(*tender.Guest, *tender.Jail){
		"another target":          func(g *tender.Guest, _ *tender.Jail) { g.Image.Target = unikernel.TargetHVT },
		"a device not attached":   func(g *tender.Guest, _ *tender.Jail) { socket(t, g, "net"); g.Devices = nil },
		"memory over a terabyte":  func(g *tender.Guest, _ *tender.Jail) { g.Memory = 1 << 40 },
		"user without group":      func(_ *tender.Guest, j *tender.Jail) { j.UID = 1000 },
		"group without user":      func(_ *tender.Guest, j *tender.Jail) { j.GID = 1000 },
		"relative root directory": func(_ *tender.Guest, j *tender.Jail) { j.Root = "empty" },
	} {
		t.Run(name, func(t *testing.T) {
			g, j := guestOf(t, idle()), tender.Jail{}
			spoil(g, &j)
			must.Error(t, startFails(t, g, j))
		})
	}
}

func TestStart_RefusesMoreSegmentsThanFit(t *testing.T) {
	g := guestOf(t, idle())
	g.Memory = 1 << 30
	last := g.Image.Segments[0]
	for range 8000 {
		last.Start, last.End, last.Addr = last.Start+pageSize, last.End+pageSize, last.Addr+pageSize
		g.Image.Segments = append(g.Image.Segments, last)
	}
	err := startFails(t, g, tender.Jail{})
	must.StrContains(t, err.Error(), "too many segments")
}

func TestStart_LeavesTheTendersFilesAlone(t *testing.T) {
	g := guestOf(t, idle())
	socket(t, g, "net")
	before := openFDs(t)
	p := startIdle(t, g, tender.Jail{})
	must.NoError(t, p.Signal(syscall.SIGKILL))
	_, err := p.Wait()
	must.NoError(t, err)
	after := openFDs(t)
	must.Len(t, len(before)+1, after) // the console's reading end
}

// A kernel on a file system that is mounted noexec is copied.
func TestStart_FromANoexecMount(t *testing.T) {
	testenv.Need(t, testenv.Root)
	g := guestOf(t, idle())
	content, err := os.ReadFile(g.Kernel.Name())
	must.NoError(t, err)
	done := make(chan tender.Exit)
	onThreadThatEnds(func() { // and the mount, which is its own, with it
		defer close(done)
		if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
			t.Errorf("unshare: %v", err)
			return
		}
		dir := filepath.Dir(g.Kernel.Name())
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			t.Errorf("making mounts private: %v", err)
			return
		}
		if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOEXEC, ""); err != nil {
			t.Errorf("mounting: %v", err)
			return
		}
		g.Kernel = kernelAt(t, filepath.Join(dir, "copy"), content)
		p := startIdle(t, g, tender.Jail{})
		_ = p.Signal(syscall.SIGKILL)
		exit, _ := p.Wait()
		done <- exit
	})
	must.Eq(t, tender.Exit{Signal: syscall.SIGKILL}, <-done)
}

func kernelAt(t *testing.T, path string, content []byte) *os.File {
	t.Helper()
	must.NoError(t, os.WriteFile(path, content, 0o600))
	f, err := os.Open(path)
	must.NoError(t, err)
	t.Cleanup(func() { must.NoError(t, f.Close()) })
	return f
}

// SPDX-License-Identifier: MPL-2.0

//go:build linux && amd64

package spt

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/osthread"
	"github.com/lkl-nomad/nomad-driver-lkl/tender"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
)

// startFails starts a guest that cannot start and returns the error. It checks that
// no open file and no process remains.
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

func TestStart_NamesTheFailedStep(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	err := startFails(t, guestOf(t, idle()), tender.Jail{Root: missing})
	must.ErrorIs(t, err, ErrNotStarted)
	must.StrContains(t, err.Error(), "change the root directory to "+missing+": ")
	must.ErrorIs(t, err, syscall.ENOENT)
}

// One step after the other becomes a system call that does not exist.
func TestLaunch_ReportsTheFailureOfEveryStep(t *testing.T) {
	g := guestOf(t, idle())
	disk(t, g, tender.Device{Name: "disk", Capacity: 4096, BlockSize: 512})
	withCommandLineFile(t, g, 10_000)
	g.Console = os.Stdout
	for i, steps := 0, 1; i < steps; i++ {
		table, err := newTable(g, tender.Jail{DieWithParent: true}, manifestOrder(g), true)
		must.NoError(t, err)
		steps = len(table.steps)
		table.steps[i].number = 4000
		l, err := table.encodeLaunch(g, manifestOrder(g))
		must.NoError(t, err)
		process, err := l.start(g, manifestOrder(g), false)
		if i == steps-1 { // the filter: the status pipe is closed
			must.NoError(t, err)
			exit, err := process.Wait()
			must.NoError(t, err)
			must.Eq(t, tender.Exit{Signal: tender.SignalNotStarted}, exit)
			continue
		}
		must.ErrorIs(t, err, ErrNotStarted)
		must.ErrorIs(t, err, syscall.ENOSYS)
		must.StrContains(t, err.Error(), table.steps[i].name)
	}
}

// The parent may die before the launcher has requested to die with it. The launcher
// then has another parent, such as PID 1.
func TestLaunch_FailsUnderAnotherParent(t *testing.T) {
	g := guestOf(t, idle())
	g.Console = os.Stdout
	table, err := newTable(g, tender.Jail{DieWithParent: true}, manifestOrder(g), true)
	must.NoError(t, err)
	i := slices.IndexFunc(table.steps, func(s step) bool { return s.name == checkParentStep })
	must.Positive(t, i)
	must.Eq(t, uint64(os.Getpid()), table.steps[i].want)
	table.steps[i].want = 1
	l, err := table.encodeLaunch(g, manifestOrder(g))
	must.NoError(t, err)
	_, err = l.start(g, manifestOrder(g), false)
	must.ErrorIs(t, err, ErrNotStarted)
	must.StrContains(t, err.Error(), checkParentStep+": unexpected result")
}

func TestStart_ReportsLackOfMemory(t *testing.T) {
	mode, err := os.ReadFile("/proc/sys/vm/overcommit_memory")
	must.NoError(t, err)
	if strings.TrimSpace(string(mode)) == "1" {
		t.Skip("vm.overcommit_memory is 1: mmap never fails for lack of memory")
	}
	g := guestOf(t, idle())
	g.Memory = 1<<40 - 1<<30
	err = startFails(t, g, tender.Jail{})
	must.ErrorIs(t, err, syscall.ENOMEM)
	must.StrContains(t, err.Error(), "guest memory")
}

func TestStart_RefusesATruncatedKernel(t *testing.T) {
	g := guestOf(t, idle())
	must.NoError(t, os.Truncate(g.Kernel.Name(), 100))
	err := startFails(t, g, tender.Jail{})
	must.StrContains(t, err.Error(), "changed")
}

func TestStart_RefusesInvalidGuests(t *testing.T) {
	for name, spoil := range map[string]func(*tender.Guest, *tender.Jail){
		"another target":          func(g *tender.Guest, _ *tender.Jail) { g.Info.Target = unikernel.TargetHVT },
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

func TestStart_RefusesTooManySegments(t *testing.T) {
	g := guestOf(t, idle())
	g.Memory = 1 << 30
	last := g.Info.Segments[0]
	for range 8000 {
		last.Start, last.End, last.Addr = last.Start+pageSize, last.End+pageSize, last.Addr+pageSize
		g.Info.Segments = append(g.Info.Segments, last)
	}
	err := startFails(t, g, tender.Jail{})
	must.StrContains(t, err.Error(), "too many segments")
}

func TestStart_KeepsTheTendersFilesOpen(t *testing.T) {
	g := guestOf(t, idle())
	socket(t, g, "net")
	before := openFDs(t)
	p := startIdle(t, g, tender.Jail{})
	must.NoError(t, p.Signal(syscall.SIGKILL))
	_, err := p.Wait()
	must.NoError(t, err)
	after := openFDs(t)
	must.Len(t, len(before)+1, after) // the console's read end
}

// Code cannot be mapped from a file system that is mounted noexec.
func TestStart_RunsAKernelFromANoexecMount(t *testing.T) {
	testenv.Need(t, testenv.Root)
	g := guestOf(t, idle())
	content, err := os.ReadFile(g.Kernel.Name())
	must.NoError(t, err)
	var p *Process
	err = osthread.Run(func() error { // the mount namespace ends with the thread
		if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return fmt.Errorf("make mounts private: %w", err)
		}
		dir := filepath.Dir(g.Kernel.Name())
		if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOEXEC, ""); err != nil {
			return fmt.Errorf("mount: %w", err)
		}
		g.Kernel = openKernel(t, filepath.Join(dir, "copy"), content)
		p = startIdle(t, g, tender.Jail{})
		return nil
	})
	must.NoError(t, err)
	must.NoError(t, p.Signal(syscall.SIGKILL))
	exit, err := p.Wait()
	must.NoError(t, err)
	must.Eq(t, tender.Exit{Signal: syscall.SIGKILL}, exit)
}

// SPDX-License-Identifier: MPL-2.0

package landlock_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/landlock"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/osthread"
)

func needLandlock(t *testing.T, version int) {
	t.Helper()
	if landlock.Version() < version {
		t.Skipf("needs Landlock version %d, the kernel has %d", version, landlock.Version())
	}
}

// restrict applies a ruleset to the calling thread.
func restrict(r landlock.Ruleset) error {
	fd, err := r.Open()
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("set no_new_privs: %w", err)
	}
	if _, _, errno := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, uintptr(fd), 0, 0); errno != 0 {
		return fmt.Errorf("landlock_restrict_self: %w", errno)
	}
	return nil
}

// attempt returns the error of a system call in a thread with the ruleset.
func attempt(t *testing.T, r landlock.Ruleset, call func() error) (denied error) {
	t.Helper()
	must.NoError(t, osthread.Run(func() error {
		if err := restrict(r); err != nil {
			return err
		}
		denied = call()
		return nil
	}))
	return denied
}

func TestRuleset_AllowsOnlyTheRules(t *testing.T) {
	needLandlock(t, 1)
	inside, outside := t.TempDir(), t.TempDir()
	for _, dir := range []string{inside, outside} {
		must.NoError(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o600))
	}
	dir, err := unix.Open(inside, unix.O_PATH|unix.O_CLOEXEC, 0)
	must.NoError(t, err)
	defer func() { must.NoError(t, unix.Close(dir)) }()
	everything := landlock.Ruleset{Rules: []landlock.Rule{{FD: dir, Access: ^uint64(0)}}}
	reading := landlock.Ruleset{Rules: []landlock.Rule{{FD: dir, Access: unix.LANDLOCK_ACCESS_FS_READ_FILE}}}
	open := func(flags int, path ...string) func() error {
		return func() error {
			fd, err := unix.Open(filepath.Join(path...), flags|unix.O_CLOEXEC, 0o600)
			if err == nil {
				_ = unix.Close(fd)
			}
			return err
		}
	}
	for _, tc := range []struct {
		name    string
		ruleset landlock.Ruleset
		call    func() error
		want    error
	}{
		{"read below the directory", reading, open(unix.O_RDONLY, inside, "file"), nil},
		{"write below a directory for reading", reading, open(unix.O_WRONLY, inside, "file"), unix.EACCES},
		{"create below a directory for reading", reading, open(unix.O_WRONLY|unix.O_CREAT, inside, "new"), unix.EACCES},
		{"write below a directory", everything, open(unix.O_RDWR, inside, "file"), nil},
		{"create below a directory", everything, open(unix.O_RDWR|unix.O_CREAT, inside, "new"), nil},
		{"read elsewhere", everything, open(unix.O_RDONLY, outside, "file"), unix.EACCES},
		{"list elsewhere", everything, open(unix.O_RDONLY|unix.O_DIRECTORY, outside), unix.EACCES},
		{"make a directory elsewhere", everything, func() error { return unix.Mkdir(filepath.Join(outside, "new"), 0o700) }, unix.EACCES},
		{"remove elsewhere", everything, func() error { return unix.Unlink(filepath.Join(outside, "file")) }, unix.EACCES},
	} {
		t.Run(tc.name, func(t *testing.T) {
			must.ErrorIs(t, attempt(t, tc.ruleset, tc.call), tc.want)
		})
	}
}

func TestRuleset_DeniesTheNetwork(t *testing.T) {
	needLandlock(t, 4)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must.NoError(t, err)
	defer func() { must.NoError(t, listener.Close()) }()
	to := &unix.SockaddrInet4{Port: listener.Addr().(*net.TCPAddr).Port, Addr: [4]byte{127, 0, 0, 1}}
	for name, call := range map[string]func(fd int) error{
		"connect": func(fd int) error { return unix.Connect(fd, to) },
		"bind":    func(fd int) error { return unix.Bind(fd, &unix.SockaddrInet4{Addr: to.Addr}) },
	} {
		t.Run(name, func(t *testing.T) {
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			must.NoError(t, err)
			defer func() { must.NoError(t, unix.Close(fd)) }()
			must.ErrorIs(t, attempt(t, landlock.Ruleset{}, func() error { return call(fd) }), unix.EACCES)
		})
	}
}

func TestRuleset_AllowsSignalsOnRequest(t *testing.T) {
	needLandlock(t, 6)
	signalParent := func() error { return unix.Kill(os.Getppid(), 0) }
	must.ErrorIs(t, attempt(t, landlock.Ruleset{}, signalParent), unix.EPERM)
	must.NoError(t, attempt(t, landlock.Ruleset{Signals: true}, signalParent))
}

// SPDX-License-Identifier: MPL-2.0

package server_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// A script runs system calls in a directory and records their results.
type script struct {
	dir    string
	result []string
}

func (s *script) path(name string) string { return s.dir + "/" + name }

// note records a result. Errors are compared by their errno.
func (s *script) note(call string, err error, values ...any) {
	var errno unix.Errno
	errors.As(err, &errno)
	s.result = append(s.result, fmt.Sprint(call, " ", unix.ErrnoName(errno), " ", values))
}

func (s *script) open(name string, flags int, mode uint32) int {
	fd, err := unix.Open(s.path(name), flags|unix.O_CLOEXEC, mode)
	s.note("open "+name, err)
	return fd
}

func (s *script) close(fd int) { s.note("close", unix.Close(fd)) }

// stat records the attributes that do not differ between two runs.
func (s *script) stat(name string) {
	var st unix.Stat_t
	err := unix.Lstat(s.path(name), &st)
	size := st.Size
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		size = 0
	}
	s.note("stat "+name, err, st.Mode, st.Nlink, st.Uid, st.Gid, size, st.Rdev)
}

func (s *script) read(name string) {
	content, err := os.ReadFile(s.path(name))
	s.note("read "+name, err, string(content))
}

func (s *script) write(name, content string) {
	s.note("write "+name, os.WriteFile(s.path(name), []byte(content), 0o644))
}

func (s *script) names(dir string) {
	entries, err := os.ReadDir(s.path(dir))
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name()+" "+entry.Type().String())
	}
	s.note("list "+dir, err, names)
}

// as runs f as another user, on a thread of its own.
func (s *script) as(uid int, f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // the thread ends with this function
		_, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, 0, 0, 0)
		s.note("setgroups", asError(errno))
		_, _, errno = unix.RawSyscall(unix.SYS_SETRESGID, uintptr(uid), uintptr(uid), uintptr(uid))
		s.note("setgid", asError(errno))
		_, _, errno = unix.RawSyscall(unix.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid))
		s.note("setuid", asError(errno))
		f()
	}()
	<-done
}

func asError(errno unix.Errno) error {
	if errno == 0 {
		return nil
	}
	return errno
}

// TestServe_BehavesAsTheHost runs scripts on a directory of the host and through a server, and
// compares the results.
func TestServe_BehavesAsTheHost(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.Fuse)
	for name, run := range scripts {
		t.Run(name, func(t *testing.T) {
			native := &script{dir: t.TempDir()}
			must.NoError(t, os.Chmod(filepath.Dir(native.dir), 0o755)) // for other users
			run(native)
			shared := t.TempDir()
			mounted, _ := mountServer(t, shared)
			served := &script{dir: mounted + "/0"}
			run(served)
			must.Eq(t, native.result, served.result)
			must.SliceNotEmpty(t, native.result)
			// The host sees the same files.
			same := &script{dir: shared}
			same.names(".")
			served.names(".")
			must.Eq(t, same.result[0], served.result[len(served.result)-1])
		})
	}
}

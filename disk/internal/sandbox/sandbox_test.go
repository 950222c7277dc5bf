// SPDX-License-Identifier: MPL-2.0

//go:build linux && amd64

package sandbox

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/landlock"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/memfd"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// generous limits suffice for the Go runtime, which reserves address space.
var generous = Limits{AddressSpace: 8 << 30, FileSize: 1 << 20, CPU: time.Minute}

// attacker builds testdata/attacker.
func attacker(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "attacker")
	build := exec.Command("go", "build", "-o", path, "./testdata/attacker")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := build.CombinedOutput()
	must.NoError(t, err, must.Sprint(string(out)))
	return path
}

// newImage creates a file of a page that only its owner can read.
func newImage(t *testing.T) *os.File {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(t.TempDir(), "image"), os.O_RDWR|os.O_CREATE, 0o600)
	must.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	must.NoError(t, f.Truncate(4096))
	return f
}

func newMemory(t *testing.T, content string) *os.File {
	t.Helper()
	f, err := memfd.New("content", []byte(content))
	must.NoError(t, err)
	must.NoError(t, f.Chmod(0o444))
	t.Cleanup(func() { f.Close() })
	return f
}

// run runs a program in the sandbox and returns its output.
func run(t *testing.T, m method, o Options, program string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Env = []string{"GOMAXPROCS=1", "GOGC=off"}
	out := new(bytes.Buffer)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = newMemory(t, ""), out, out
	p, err := start(cmd, o, m)
	if err != nil {
		return "", err
	}
	err = p.Wait()
	return out.String(), err
}

func methods(t *testing.T) map[string]method {
	t.Helper()
	testenv.Need(t, testenv.Root)
	all := map[string]method{"root directory": byRootDirectory}
	if landlock.Version() > 0 {
		all["Landlock"] = byLandlock
	}
	return all
}

// The results of the attacks that depend on the method: Landlock denies access to files that
// a private root directory does not have.
var byMethod = map[string]map[method]syscall.Errno{
	"own memory": {byLandlock: unix.EACCES, byRootDirectory: 0},
	// The file system of the libraries is not restricted to some programs.
	"execute another program": {byLandlock: unix.EACCES, byRootDirectory: unix.ENOENT},
}

// Any user of the host could do these, without a sandbox.
var (
	fileAttacks = []string{
		"read a secret", "read a public file", "list a directory", "read a file", "write a file", "create a file",
		"open a device", "open /dev/null", "memory of the parent", "environment of the parent",
	}
	callAttacks = []string{
		"fork", "vfork", "clone", "clone3", "internet socket", "unix socket", "packet socket", "ptrace",
		"read the parent's memory", "kill", "pidfd_open", "mknod", "mkdir", "symlink", "unlink", "rename",
		"chmod", "chown", "mount", "chroot", "unshare", "setuid", "prctl", "memfd_create", "bpf", "userfaultfd",
		"io_uring", "terminal ioctl", "change a limit",
	}
)

func TestStart_RefusesEveryAttack(t *testing.T) {
	program, dir := attacker(t), t.TempDir()
	for name, m := range methods(t) {
		t.Run(name, func(t *testing.T) {
			open := filepath.Join(dir, strconv.Itoa(int(m)))
			must.NoError(t, os.Mkdir(open, 0o777))
			must.NoError(t, os.Chmod(open, 0o777))
			file, device := filepath.Join(open, "file"), filepath.Join(open, "device")
			must.NoError(t, os.WriteFile(file, []byte("text"), 0o666))
			must.NoError(t, os.Chmod(file, 0o666))
			must.NoError(t, unix.Mknod(device, unix.S_IFCHR|0o666, int(unix.Mkdev(1, 5)))) // /dev/zero
			must.NoError(t, os.Chmod(device, 0o666))
			must.NoError(t, os.Chmod(filepath.Dir(dir), 0o755))

			want := map[string]syscall.Errno{
				"image": 0, "file for reading": 0, "write to the file for reading": unix.EACCES, "tgkill": unix.EPERM,
			}
			for _, attack := range fileAttacks {
				want[attack] = map[method]syscall.Errno{byLandlock: unix.EACCES, byRootDirectory: unix.ENOENT}[m]
			}
			for _, attack := range callAttacks {
				want[attack] = unix.ENOSYS
			}
			for attack, errnos := range byMethod {
				want[attack] = errnos[m]
			}
			out, err := run(t, m, Options{Image: newImage(t), Files: []*os.File{newMemory(t, "text")}, Limits: generous},
				program, strconv.Itoa(os.Getpid()), device, file, open)
			must.NoError(t, err, must.Sprint(out))
			for line := range strings.Lines(out) {
				attack, result, _ := strings.Cut(strings.TrimSpace(line), ": ")
				expected, ok := want[attack]
				must.True(t, ok, must.Sprint(line))
				errno, err := strconv.Atoi(result)
				must.NoError(t, err)
				must.Eq(t, expected, syscall.Errno(errno), must.Sprint(attack))
				delete(want, attack)
			}
			must.MapEmpty(t, want, must.Sprint("attacks without a result"))
			entries, err := os.ReadDir(open)
			must.NoError(t, err)
			must.Len(t, 2, entries)
		})
	}
}

// SPDX-License-Identifier: MPL-2.0

//go:build linux && amd64

package sandbox

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/executor/cgroup"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/landlock"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/memfd"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// generous limits suffice for the Go runtime, which reserves address space.
var generous = Limits{AddressSpace: 8 << 30, FileSize: 1 << 20, CPU: time.Minute}

// attacker builds testdata/attacker, at a path that every user can execute.
func attacker(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "attacker")
	must.NoError(t, os.Chmod(filepath.Dir(filepath.Dir(path)), 0o755))
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

// A shell that loops, and dd that writes behind the end, stand for a tool on a malicious
// image.
func TestWait_NamesTheLimitThatAProgramExceeded(t *testing.T) {
	testenv.Need(t, testenv.Root)
	limits := Limits{AddressSpace: 1 << 30, FileSize: 4096, CPU: time.Second}
	for name, c := range map[string]struct {
		program []string
		says    string
	}{
		"processor time": {[]string{"/bin/sh", "-c", "while :; do :; done"}, "more than 1s of processor time"},
		"file size": {
			[]string{"/bin/dd", "if=/proc/self/fd/4", "of=" + ImagePath, "conv=notrunc", "bs=4096", "seek=1"},
			"beyond the end of the image, at 4096 bytes",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := Options{Image: newImage(t), Files: []*os.File{newMemory(t, "text")}, Limits: limits}
			_, err := run(t, byLandlock, o, c.program[0], c.program[1:]...)
			must.ErrorIs(t, err, ErrLimit)
			must.ErrorContains(t, err, c.says)
			info, err := o.Image.Stat()
			must.NoError(t, err)
			must.Eq(t, 4096, info.Size())
		})
	}
}

func TestWait_NamesTheTasksMemoryLimit(t *testing.T) {
	testenv.Need(t, testenv.Root)
	const alloc, task = "7a6e29c1-memory", "web"
	spec, err := cgroup.Nomad(testenv.TaskCgroup(t, alloc, task), alloc, task)
	must.NoError(t, err)
	spec.Limits.MemoryBytes = 32 << 20
	group, err := spec.Group()
	must.NoError(t, err)
	must.NoError(t, group.Create())
	_, err = run(t, byLandlock, Options{Image: newImage(t), Limits: generous, Cgroup: spec}, attacker(t), "allocate")
	must.ErrorIs(t, err, ErrMemory)
	must.ErrorContains(t, err, "32 MiB")
}

// The new root directory contains nothing but what the program needs, without devices.
func TestStart_PrivateRootHasOnlyLibraries(t *testing.T) {
	testenv.Need(t, testenv.Root)
	out, err := run(t, byRootDirectory, Options{Image: newImage(t), Limits: generous}, "/bin/ls", "/", "/proc")
	must.NoError(t, err)
	for name := range strings.FieldsSeq(out) {
		known := []string{"/:", "/proc:", "bin", "etc", "lib", "lib64", "proc", "usr", "self", "thread-self"}
		_, err := strconv.Atoi(name) // the program's own process
		must.True(t, err == nil || slices.Contains(known, name), must.Sprint(name))
	}
	mounts, err := run(t, byRootDirectory, Options{Image: newImage(t), Limits: generous}, "/bin/cat", "/proc/self/mounts")
	must.NoError(t, err)
	for line := range strings.Lines(mounts) {
		options := strings.Split(strings.Fields(line)[3], ",")
		must.SliceContainsSubset(t, options, []string{"nosuid", "nodev"}, must.Sprint(line))
		must.True(t, slices.Contains(options, "ro") || strings.HasPrefix(line, "proc "), must.Sprint(line))
	}
}

const (
	pluginEnv = "LKL_TEST_SANDBOX_PLUGIN"
	helperFD  = 3 // of the plugin: the pipe that the program writes to
)

// The program blocks on a pipe that outlives the plugin, so that only the plugin's death
// can end it.
func TestStart_ProgramDiesWithThePlugin(t *testing.T) {
	if os.Getenv(pluginEnv) != "" {
		playPlugin(t)
		return
	}
	testenv.Need(t, testenv.Root)
	r, w, err := os.Pipe()
	must.NoError(t, err)
	defer r.Close()
	defer w.Close()
	plugin := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	plugin.Env = append(os.Environ(), pluginEnv+"=1", "TMPDIR="+t.TempDir()) // the killed plugin removes nothing
	plugin.ExtraFiles = []*os.File{w}
	out, err := plugin.StdoutPipe()
	must.NoError(t, err)
	must.NoError(t, plugin.Start())
	var pid int
	_, err = fmt.Fscanf(out, "%d\n", &pid)
	must.NoError(t, err)
	must.NoError(t, unix.Kill(pid, 0))
	must.NoError(t, plugin.Process.Kill())
	must.Error(t, plugin.Wait())
	must.Wait(t, testenv.EventuallyTrue(func() bool { return unix.Kill(pid, 0) == unix.ESRCH }))
}

// playPlugin starts a program that never ends, prints its process ID and waits.
func playPlugin(t *testing.T) {
	output := os.NewFile(helperFD, "pipe")
	cmd := exec.CommandContext(t.Context(), "/bin/dd", "if="+ImagePath, "iflag=nonblock", "bs=1M", "count=100000")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = newMemory(t, ""), output, output
	image := newImage(t)
	must.NoError(t, image.Truncate(1<<40))
	p, err := Start(cmd, Options{Image: image, Limits: generous})
	must.NoError(t, err)
	fmt.Println(cmd.Process.Pid)
	_ = p.Wait() // the plugin is killed before
}

func TestStart_ReportsTheStepThatFailed(t *testing.T) {
	testenv.Need(t, testenv.Root)
	program := filepath.Join(t.TempDir(), "program")
	content, err := os.ReadFile("/bin/true")
	must.NoError(t, err)
	must.NoError(t, os.WriteFile(program, content, 0o600)) // not executable
	_, err = run(t, byLandlock, Options{Image: newImage(t), Limits: generous}, program)
	must.ErrorIs(t, err, unix.EACCES)
	must.ErrorContains(t, err, "execute "+program)
	must.ErrorContains(t, err, "confine program")
}

// SPDX-License-Identifier: MPL-2.0

package client_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/executor"
	"github.com/lkl-nomad/nomad-driver-lkl/executor/client"
	"github.com/lkl-nomad/nomad-driver-lkl/files"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
)

// Paths of an executor and a file server that TestMain builds from this tree.
var executorBinary, filesBinary string

func TestMain(m *testing.M) {
	if os.Args[0] == files.Program {
		hangAsFileServer()
	}
	if os.Getenv(pluginEnv) != "" {
		fatal(runAsPlugin())
	}
	dir, err := os.MkdirTemp("", "executor")
	fatal(err)
	executorBinary, filesBinary = filepath.Join(dir, executor.Program), filepath.Join(dir, files.Program)
	const commands = "github.com/lkl-nomad/nomad-driver-lkl/cmd/"
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", dir+"/",
		commands+executor.Program, commands+files.Program)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	cmd.Stderr = os.Stderr
	fatal(cmd.Run())
	// Executors whose plugin was killed become children of this process.
	fatal(unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// fatal ends the process for an error outside of any test.
func fatal(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// A testTask is a task that a test starts.
type testTask struct {
	plan  executor.Plan
	files []*os.File
	out   *os.File // reading end of the console's FIFO, as Nomad has it
}

// newTask prepares a task with a unikernel of guest/. As root, it gives the guest
// an unprivileged UID and an empty root directory.
func newTask(t testing.TB, name, commandLine string) *testTask {
	t.Helper()
	return newTaskWithKernel(t, testenv.Guest(t, name+".spt"), commandLine)
}

func newTaskWithKernel(t testing.TB, path, commandLine string) *testTask {
	t.Helper()
	if runtime.GOARCH != "amd64" {
		t.Skip("needs amd64: the spt tender runs nowhere else")
	}
	f, err := os.Open(path)
	must.NoError(t, err)
	dir := t.TempDir()
	task := &testTask{
		files: []*os.File{f},
		plan: executor.Plan{
			Task: t.Name(), Dir: filepath.Join(dir, "task"), Tender: executor.TenderSPT,
			Memory: 16 << 20, CommandLine: commandLine,
			Stdout: filepath.Join(dir, "stdout.fifo"), Stderr: filepath.Join(dir, "stderr"),
		},
	}
	t.Cleanup(func() {
		for _, f := range task.files {
			_ = f.Close()
		}
	})
	must.NoError(t, os.Mkdir(task.plan.Dir, 0o700))
	must.NoError(t, unix.Mkfifo(task.plan.Stdout, 0o600))
	must.NoError(t, os.WriteFile(task.plan.Stderr, nil, 0o600))
	task.out, err = os.OpenFile(task.plan.Stdout, os.O_RDONLY|unix.O_NONBLOCK, 0)
	must.NoError(t, err)
	t.Cleanup(func() { _ = task.out.Close() })
	if os.Geteuid() == 0 {
		task.plan.UIDBase = 1 << 20
		task.plan.Root = filepath.Join(dir, "empty")
		must.NoError(t, os.Mkdir(task.plan.Root, 0o555))
	}
	return task
}

// withControl adds the control device.
func (task *testTask) withControl() *testTask {
	task.plan.Devices = append(task.plan.Devices, executor.Device{Name: "control", Type: unikernel.Net, Control: true})
	return task
}

// newFilesTask prepares a task whose guest has a file server with one share. The guest
// control waits for a frame on its device, which is connected to the server.
func newFilesTask(t testing.TB) (task *testTask, share string) {
	t.Helper()
	testenv.Need(t, testenv.Root)
	task, share = newTask(t, "control", ""), t.TempDir()
	task.plan.Devices = []executor.Device{{Name: "control", Type: unikernel.Net, Files: true}}
	task.plan.Files = &executor.FilesPlan{
		ProgramFD: task.addFile(t, filesBinary, unix.O_RDONLY),
		Server: files.Plan{
			Version: files.Version, UID: 1000, GID: 1000,
			Shares: []files.Share{{FD: task.addFile(t, share, unix.O_PATH)}},
		},
	}
	return task, share
}

// addFile opens a file for the executor, and returns its index.
func (task *testTask) addFile(t testing.TB, path string, flags int) int {
	t.Helper()
	fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0)
	must.NoError(t, err)
	task.files = append(task.files, os.NewFile(uintptr(fd), path))
	return len(task.files) - 1
}

// start starts the task and destroys it after the test.
func (task *testTask) start(t testing.TB) *client.Client {
	t.Helper()
	c, _, err := client.Start(deadline(t), executorBinary, task.plan, task.files)
	must.NoError(t, err)
	t.Cleanup(func() { destroy(t, task.plan.Dir) })
	return c
}

// destroy removes a task's processes and cgroups.
func destroy(t testing.TB, dir string) {
	t.Helper()
	must.NoError(t, client.Destroy(context.Background(), dir, client.Known{}))
}

func deadline(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testenv.Patience)
	t.Cleanup(cancel)
	return ctx
}

// awaitLine reads the console up to a line that contains the text.
func (task *testTask) awaitLine(t testing.TB, text string) string {
	t.Helper()
	line, err := readLine(task.out, text)
	must.NoError(t, err)
	return line
}

func readLine(f *os.File, text string) (string, error) {
	if err := f.SetReadDeadline(time.Now().Add(testenv.Patience)); err != nil {
		return "", err
	}
	for r := bufio.NewReader(f); ; {
		line, err := r.ReadString('\n')
		if err != nil {
			return "", fmt.Errorf("waiting for %q on the console: %w", text, err)
		}
		if strings.Contains(line, text) {
			return line, nil
		}
	}
}

// readOutput reads the rest of the console, up to the executor's end.
func (task *testTask) readOutput(t testing.TB) []byte {
	t.Helper()
	must.NoError(t, task.out.SetReadDeadline(time.Now().Add(testenv.Patience)))
	all, err := io.ReadAll(task.out)
	must.NoError(t, err)
	return all
}

// readStderr reads the task's stderr, which only the executor writes.
func (task *testTask) readStderr(t testing.TB) []byte {
	t.Helper()
	all, err := os.ReadFile(task.plan.Stderr)
	must.NoError(t, err)
	return all
}

func waitExit(t testing.TB, c *client.Client) executor.Exit {
	t.Helper()
	exit, err := c.Wait(deadline(t))
	must.NoError(t, err)
	return exit
}

// waitGone waits for the end of processes.
func waitGone(t testing.TB, processes ...executor.Process) {
	t.Helper()
	for _, p := range processes {
		fd, err := p.Pidfd()
		if errors.Is(err, executor.ErrGone) {
			continue
		}
		must.NoError(t, err)
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(testenv.Patience.Milliseconds()))
		_ = unix.Close(fd)
		must.NoError(t, err)
		must.Eq(t, 1, n, must.Sprintf("process %d still runs", p.Pid))
	}
}

// procStatus returns the fields of /proc/PID/status.
func procStatus(t testing.TB, pid int) map[string]string {
	t.Helper()
	fields := map[string]string{}
	for line := range bytes.Lines(readProc(t, pid, "status")) {
		name, value, _ := strings.Cut(string(line), ":")
		fields[name] = strings.Join(strings.Fields(value), " ")
	}
	return fields
}

func readProc(t testing.TB, pid int, file string) []byte {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
	must.NoError(t, err)
	return b
}

// openFDs returns the open files of a process by descriptor.
func openFDs(t testing.TB, pid int) map[string]string {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(dir)
	must.NoError(t, err)
	open := map[string]string{}
	for _, e := range entries {
		if to, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil {
			open[e.Name()] = to
		}
	}
	return open
}

func fileNames(t testing.TB, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must.NoError(t, err)
	names := []string{}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

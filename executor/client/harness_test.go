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
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
)

// patience is how long anything may take that is to happen at all.
const patience = 20 * time.Second

// program is the executor, built from this tree.
var program string

func TestMain(m *testing.M) {
	if os.Getenv(pluginEnv) != "" {
		fatal(beAPlugin())
	}
	dir, err := os.MkdirTemp("", "executor")
	fatal(err)
	program = filepath.Join(dir, "lkl-executor")
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", program,
		"github.com/lkl-nomad/nomad-driver-lkl/cmd/lkl-executor")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	cmd.Stderr = os.Stderr
	fatal(cmd.Run())
	// Executors whose plugin was killed come back to this process.
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

// A job is a task to be started.
type job struct {
	plan  executor.Plan
	files []*os.File
	out   *os.File // the console's FIFO; read it as Nomad does
}

// guest is a job for one of guest/'s unikernels, jailed when run by root.
func guest(t testing.TB, name, commandLine string) *job {
	t.Helper()
	return kernel(t, testenv.Guest(t, name+".spt"), commandLine)
}

func kernel(t testing.TB, path, commandLine string) *job {
	t.Helper()
	if runtime.GOARCH != "amd64" {
		t.Skip("needs amd64: the spt tender runs nowhere else")
	}
	f, err := os.Open(path)
	must.NoError(t, err)
	dir := t.TempDir()
	j := &job{
		files: []*os.File{f},
		plan: executor.Plan{
			Task: t.Name(), Dir: filepath.Join(dir, "task"), Tender: executor.TenderSPT,
			Memory: 16 << 20, CommandLine: commandLine,
			Stdout: filepath.Join(dir, "stdout.fifo"), Stderr: filepath.Join(dir, "stderr"),
		},
	}
	t.Cleanup(func() {
		for _, f := range j.files {
			_ = f.Close()
		}
	})
	must.NoError(t, os.Mkdir(j.plan.Dir, 0o700))
	must.NoError(t, unix.Mkfifo(j.plan.Stdout, 0o600))
	must.NoError(t, os.WriteFile(j.plan.Stderr, nil, 0o600))
	j.out, err = os.OpenFile(j.plan.Stdout, os.O_RDONLY|unix.O_NONBLOCK, 0)
	must.NoError(t, err)
	t.Cleanup(func() { _ = j.out.Close() })
	if os.Geteuid() == 0 {
		j.plan.UIDBase = 1 << 20
		j.plan.Root = filepath.Join(dir, "empty")
		must.NoError(t, os.Mkdir(j.plan.Root, 0o555))
	}
	return j
}

// control gives the job's guest its control device.
func (j *job) control() *job {
	j.plan.Devices = append(j.plan.Devices, executor.Device{Name: "control", Type: unikernel.Net, Control: true})
	return j
}

// start starts the job and sees to it that nothing of it is left after the test.
func (j *job) start(t testing.TB) *client.Client {
	t.Helper()
	c, _, err := client.Start(deadline(t), program, j.plan, j.files)
	must.NoError(t, err)
	t.Cleanup(func() { must.NoError(t, client.Destroy(j.plan.Dir, client.Known{})) })
	return c
}

func deadline(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// expect reads the console up to a line that contains the text.
func (j *job) expect(t testing.TB, text string) string {
	t.Helper()
	line, err := readLine(j.out, text)
	must.NoError(t, err)
	return line
}

func readLine(f *os.File, text string) (string, error) {
	if err := f.SetReadDeadline(time.Now().Add(patience)); err != nil {
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

// rest reads the console to its end: the executor's.
func (j *job) rest(t testing.TB) []byte {
	t.Helper()
	must.NoError(t, j.out.SetReadDeadline(time.Now().Add(patience)))
	all, err := io.ReadAll(j.out)
	must.NoError(t, err)
	return all
}

func wait(t testing.TB, c *client.Client) executor.Exit {
	t.Helper()
	exit, err := c.Wait(deadline(t))
	must.NoError(t, err)
	return exit
}

// until waits for a condition that nothing announces.
func until(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !holds(); {
		if time.Now().After(end) {
			t.Fatalf("not in %v: %s", patience, what)
		}
		runtime.Gosched()
	}
}

// gone waits for the end of processes.
func gone(t testing.TB, processes ...executor.Process) {
	t.Helper()
	for _, p := range processes {
		fd, err := p.Open()
		if errors.Is(err, executor.ErrGone) {
			continue
		}
		must.NoError(t, err)
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(patience.Milliseconds()))
		_ = unix.Close(fd)
		must.NoError(t, err)
		must.Eq(t, 1, n, must.Sprintf("process %d lives on", p.Pid))
	}
}

// status returns the fields of /proc/PID/status.
func status(t testing.TB, pid int) map[string]string {
	t.Helper()
	fields := map[string]string{}
	for line := range bytes.Lines(proc(t, pid, "status")) {
		name, value, _ := strings.Cut(string(line), ":")
		fields[name] = strings.Join(strings.Fields(value), " ")
	}
	return fields
}

func proc(t testing.TB, pid int, file string) []byte {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
	must.NoError(t, err)
	return b
}

// descriptors returns what a process has open.
func descriptors(t testing.TB, pid int) map[string]string {
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

func files(t testing.TB, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must.NoError(t, err)
	names := []string{}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

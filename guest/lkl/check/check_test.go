// SPDX-License-Identifier: MPL-2.0

// Package check compares what Linux as a unikernel does for a program with what
// Linux does natively: the program in program/ is built for both, and must say
// the same in both, but for the differences that are written down.
package check

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/shoenig/test"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/disk"
	"github.com/lkl-nomad/nomad-driver-lkl/tender"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// patience is how long one run of the program may take.
const patience = 20 * time.Minute

// A system is where the program runs.
type system struct {
	name string
	run  func(ctx context.Context, args ...string) *exec.Cmd
}

// output is all that a run prints, and its exit status as a shell tells it.
func (s *system) output(t *testing.T, args ...string) (string, int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var out bytes.Buffer
	cmd := s.run(ctx, args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	must.NoError(t, ctx.Err(), must.Sprintf("%s %v: %s", s.name, args, out.String()))
	status := cmd.ProcessState.ExitCode()
	if w, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && w.Signaled() {
		status = 128 + int(w.Signal())
	}
	return out.String(), status
}

func compile(t *testing.T, compiler string, options ...string) string {
	t.Helper()
	sources, err := filepath.Glob("program/*.c")
	must.NoError(t, err)
	to := filepath.Join(t.TempDir(), "check")
	args := []string{"-std=gnu11", "-O2", "-Wall", "-Wextra", "-Wno-missing-field-initializers", "-pthread", "-o", to}
	args = append(append(append(args, options...), sources...), "-lm")
	out, err := exec.Command(compiler, args...).CombinedOutput()
	must.NoError(t, err, must.Sprintf("%s: %s", compiler, out))
	return to
}

// native runs the program on this machine's kernel, with mounts, a network and
// a session of its own (a container's session may have its leader outside, and
// no number inside): /mnt is a small file system.
func native(t *testing.T) *system {
	t.Helper()
	testenv.Need(t, testenv.Root, testenv.Tool("gcc"), testenv.Tool("ip"))
	program := compile(t, "gcc")
	const script = "mount -t tmpfs -o size=8m small /mnt && ip link set lo up && exec \"$@\""
	return &system{"native", func(ctx context.Context, args ...string) *exec.Cmd {
		cmd := exec.CommandContext(ctx, "sh", append([]string{"-c", script, "sh", program}, args...)...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Unshareflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET}
		return cmd
	}}
}

func image(t *testing.T, size int64, directories ...string) string {
	t.Helper()
	dir := t.TempDir()
	from, to := filepath.Join(dir, "files"), filepath.Join(dir, "image")
	for _, d := range append(directories, ".") {
		must.NoError(t, os.MkdirAll(filepath.Join(from, d), 0o755))
	}
	if len(directories) > 0 {
		must.NoError(t, os.WriteFile(filepath.Join(from, "etc/hosts"), []byte("127.0.0.1 localhost\n"), 0o644))
	}
	must.NoError(t, disk.Build(t.Context(), from, to, disk.BuildOptions{Size: size}))
	return to
}

// guest runs the program as a unikernel: its root is an ext4 image, /mnt a
// small one.
func guest(t *testing.T) *system {
	t.Helper()
	testenv.Need(t, testenv.Tool("gcc"), testenv.Tool("mke2fs"), testenv.Tool("debugfs"))
	plugin := testenv.Plugin(t)
	program := compile(t, testenv.Guest(t, "lkl-cc"), "-manifest", "manifest.json")
	root, small := image(t, 256<<20, "etc", "mnt"), image(t, 8<<20)
	config := `{\"mounts\":[{\"device\":\"small\",\"path\":\"/mnt\"}]`
	if tender.HostHasFSGSBase() { // as the driver tells
		config += `,\"fsgsbase\":\"1\"`
	}
	config += "}"
	return &system{"guest", func(ctx context.Context, args ...string) *exec.Cmd {
		return exec.CommandContext(ctx, plugin, append([]string{
			"run", "--mem=256", "--block:rootfs=" + root, "--block:small=" + small, "--", program, "--config", config, "--",
		}, args...)...)
	}}
}

// A difference is what the guest says, and why.
type difference struct {
	name, line, reason string
}

func differences(t *testing.T) []difference {
	t.Helper()
	text, err := os.ReadFile("differences")
	must.NoError(t, err)
	var all []difference
	for line := range strings.SplitSeq(string(text), "\n") {
		switch {
		case line == "" || line[0] == '#':
		case line[0] == '\t':
			must.Positive(t, len(all))
			all[len(all)-1].reason = strings.TrimSpace(line)
		default:
			name, _, _ := strings.Cut(line, ": ")
			all = append(all, difference{name: name, line: line})
		}
	}
	for _, d := range all {
		must.NotEq(t, "", d.reason, must.Sprintf("%s: why?", d.name))
	}
	return all
}

// answers gives each case's line by its name.
func answers(out string) map[string]string {
	all := map[string]string{}
	for line := range strings.SplitSeq(out, "\n") {
		if name, ok := strings.CutPrefix(line, "ok "); ok {
			all[name] = line
		} else if name, _, ok := strings.Cut(line, ": "); ok {
			all[name] = line
		}
	}
	return all
}

func TestCheck_GuestAnswersAsNative(t *testing.T) {
	here, there := native(t), guest(t)
	want, status := here.output(t, "-s", "/mnt", t.TempDir())
	must.Eq(t, 0, status, must.Sprintf("natively every case must pass:\n%s", want))
	got, _ := there.output(t, "-s", "/mnt", "/scratch")

	wants, gots := answers(want), answers(got)
	must.Greater(t, 200, len(wants))
	listed := map[string]bool{}
	for _, d := range differences(t) {
		listed[d.name] = true
		test.Eq(t, d.line, gots[d.name], test.Sprintf("listed in guest/lkl/check/differences"))
	}
	for name, line := range wants {
		if !listed[name] {
			test.Eq(t, line, gots[name], test.Sprintf("%s", got))
		}
	}
	test.Eq(t, len(wants), len(gots), test.Sprintf("%s", got))
}

// said is what the program itself has printed: kernel, start program and tender
// say why a guest ended, as a shell would natively.
func said(out string) string {
	var own []string
	for line := range strings.SplitAfterSeq(out, "\n") {
		if !strings.HasPrefix(line, "lkl: ") && !strings.HasPrefix(line, "nomad-driver-lkl run: ") {
			own = append(own, line)
		}
	}
	return strings.Join(own, "")
}

func TestCheck_ProgramsEndAsNative(t *testing.T) {
	here, there := native(t), guest(t)
	names, status := here.output(t, "--end")
	must.Eq(t, 0, status)
	for _, name := range strings.Fields(names) {
		t.Run(name, func(t *testing.T) {
			want, wantStatus := here.output(t, "--end", name)
			got, gotStatus := there.output(t, "--end", name)
			test.Eq(t, want, said(got))
			test.Eq(t, wantStatus, gotStatus, test.Sprint(got))
		})
	}
}

// Threads of every kind, all at once: each gets on, and no round leaves memory
// behind. LKL_STRESS_SECONDS makes it longer.
func TestCheck_StressLeavesNothingBehind(t *testing.T) {
	seconds := os.Getenv("LKL_STRESS_SECONDS")
	if seconds == "" {
		seconds = "12"
	}
	out, status := guest(t).output(t, "--stress", seconds, "/scratch")
	test.Eq(t, 0, status, test.Sprint(out))
	t.Log(out)
}

// The page that readers look at tells the same as the file that tests look at.
func TestCheck_DifferencesAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../../docs/posix.md")
	must.NoError(t, err)
	for _, d := range differences(t) {
		test.StrContains(t, string(page), "| `"+d.name+"` | "+d.reason+" |\n")
	}
	_, table, found := strings.Cut(string(page), "\n## Differences\n")
	must.True(t, found)
	table, _, _ = strings.Cut(table, "\n## ")
	test.Eq(t, len(differences(t)), strings.Count(table, "\n| `"))
}

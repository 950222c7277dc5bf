// SPDX-License-Identifier: MPL-2.0

// Package check compares Linux as a unikernel with native Linux. It builds the
// program in program/ for both. The output must be the same except for the lines
// of the file differences. README.md explains how to write a case.
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
	"github.com/lkl-nomad/nomad-driver-lkl/tender/spt"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// runLimit limits one run of the program, which may take minutes in a guest.
const runLimit = 20 * time.Minute

// A system is where the program runs.
type system struct {
	name string
	run  func(ctx context.Context, args ...string) *exec.Cmd
}

// output runs the program, and returns all that it prints and its exit status.
// As in a shell, a signal counts as status 128 + its number.
func (s *system) output(t *testing.T, args ...string) (string, int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), runLimit)
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

// nativeSystem runs the program on the host's kernel, in private mount and
// network namespaces, with a small file system on /mnt. It also starts a new
// session: in a container the session leader may be outside, and its ID unknown.
func nativeSystem(t *testing.T) *system {
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

// buildImage makes an ext4 image with directories. If there are any, they must
// include etc, which gets a hosts file.
func buildImage(t *testing.T, size int64, directories ...string) string {
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

// guestSystem runs the program as a unikernel. Its root is an ext4 image, and a
// small image is mounted on /mnt.
func guestSystem(t *testing.T) *system {
	t.Helper()
	testenv.Need(t, testenv.Tool("gcc"), testenv.Tool("mke2fs"), testenv.Tool("debugfs"))
	plugin := testenv.Plugin(t)
	program := compile(t, testenv.Guest(t, "lkl-cc"), "-manifest", "manifest.json")
	root, small := buildImage(t, 256<<20, "etc", "mnt"), buildImage(t, 8<<20)
	config := `{\"mounts\":[{\"device\":\"small\",\"path\":\"/mnt\"}]`
	if spt.HostHasFSGSBase() { // as the driver does
		config += `,\"fsgsbase\":\"1\"`
	}
	config += "}"
	return &system{"guest", func(ctx context.Context, args ...string) *exec.Cmd {
		return exec.CommandContext(ctx, plugin, append([]string{
			"run", "--mem=256", "--block:rootfs=" + root, "--block:small=" + small, "--", program, "--config", config, "--",
		}, args...)...)
	}}
}

// A difference is an expected deviation of the guest.
type difference struct {
	name   string // of the case
	line   string // that the guest prints
	reason string
}

// readDifferences reads the file differences.
func readDifferences(t *testing.T) []difference {
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
		must.NotEq(t, "", d.reason, must.Sprintf("%s: no reason given", d.name))
	}
	return all
}

// linesByCase maps the name of each case to its line of the output.
func linesByCase(out string) map[string]string {
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

func TestCheck_GuestBehavesLikeNative(t *testing.T) {
	native, guest := nativeSystem(t), guestSystem(t)
	want, status := native.output(t, "-s", "/mnt", t.TempDir())
	must.Eq(t, 0, status, must.Sprintf("natively every case must pass:\n%s", want))
	got, _ := guest.output(t, "-s", "/mnt", "/scratch")

	wantLines, gotLines := linesByCase(want), linesByCase(got)
	must.Greater(t, 200, len(wantLines))
	listed := map[string]bool{}
	for _, d := range readDifferences(t) {
		listed[d.name] = true
		test.Eq(t, d.line, gotLines[d.name], test.Sprintf("listed in guest/lkl/check/differences"))
	}
	for name, line := range wantLines {
		if !listed[name] {
			test.Eq(t, line, gotLines[name], test.Sprintf("%s", got))
		}
	}
	test.Eq(t, len(wantLines), len(gotLines), test.Sprintf("%s", got))
}

// withoutSystemLines removes the lines in which the kernel, the start program or
// the tender report how the guest ended. Natively a shell would report it.
func withoutSystemLines(out string) string {
	var lines []string
	for line := range strings.SplitAfterSeq(out, "\n") {
		if !strings.HasPrefix(line, "lkl: ") && !strings.HasPrefix(line, "nomad-driver-lkl run: ") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "")
}

func TestCheck_ProgramsEndLikeNative(t *testing.T) {
	native, guest := nativeSystem(t), guestSystem(t)
	names, status := native.output(t, "--end")
	must.Eq(t, 0, status)
	for _, name := range strings.Fields(names) {
		t.Run(name, func(t *testing.T) {
			want, wantStatus := native.output(t, "--end", name)
			got, gotStatus := guest.output(t, "--end", name)
			test.Eq(t, want, withoutSystemLines(got))
			test.Eq(t, wantStatus, gotStatus, test.Sprint(got))
		})
	}
}

// Threads of all kinds run at once. Each must make progress, and no round may
// leak memory. LKL_STRESS_SECONDS sets the duration.
func TestCheck_StressLeaksNothing(t *testing.T) {
	seconds := os.Getenv("LKL_STRESS_SECONDS")
	if seconds == "" {
		seconds = "12"
	}
	out, status := guestSystem(t).output(t, "--stress", seconds, "/scratch")
	test.Eq(t, 0, status, test.Sprint(out))
	t.Log(out)
}

// The table in docs/posix.md must have the names and reasons of the file.
func TestCheck_DifferencesAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../../docs/posix.md")
	must.NoError(t, err)
	for _, d := range readDifferences(t) {
		test.StrContains(t, string(page), "| `"+d.name+"` | "+d.reason+" |\n")
	}
	_, table, found := strings.Cut(string(page), "\n## Differences\n")
	must.True(t, found)
	table, _, _ = strings.Cut(table, "\n## ")
	test.Eq(t, len(readDifferences(t)), strings.Count(table, "\n| `"))
}

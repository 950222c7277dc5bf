// SPDX-License-Identifier: MPL-2.0

// Package fstest compares the file systems of a guest with native Linux. It builds the
// program in program/ for both, and runs it in a directory of the host and in a guest. Each
// case prints the results of its calls, which must be the same except for the file
// differences.
package fstest

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/shoenig/test"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/disk"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// compile builds the program with a compiler, and returns its path.
func compile(t *testing.T, compiler string, options ...string) string {
	t.Helper()
	sources, err := filepath.Glob("program/*.c")
	must.NoError(t, err)
	to := filepath.Join(t.TempDir(), "fstest")
	args := []string{
		"-std=gnu11", "-O2", "-Wall", "-Wextra", "-Wno-missing-field-initializers", "-Wno-unused-result", "-pthread", "-o", to,
	}
	out, err := exec.Command(compiler, append(append(args, options...), sources...)...).CombinedOutput()
	must.NoError(t, err, must.Sprintf("%s: %s", compiler, out))
	return to
}

// output runs a command, and returns all that it prints.
func output(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	must.NoError(t, cmd.Run(), must.Sprintf("%s: %s", cmd, &out))
	return out.String()
}

// limited returns a context for one run of the program, with time for the random changes.
func limited(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), randomTime(t)+4*testenv.Patience)
	t.Cleanup(cancel)
	return ctx
}

// newDirectory returns an empty directory that every user can reach.
func newDirectory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "lkl-fstest-")
	must.NoError(t, err)
	t.Cleanup(func() { must.NoError(t, os.RemoveAll(dir)) })
	must.NoError(t, os.Chmod(dir, 0o777))
	return dir
}

// runNatively runs the program in a directory of the host.
func runNatively(t *testing.T, args ...string) string {
	t.Helper()
	testenv.Need(t, testenv.Root, testenv.Tool("gcc"))
	return output(t, exec.CommandContext(limited(t), compile(t, "gcc"), args...))
}

// runOnExt4 runs the program on a new ext4 file system of the host. The mount vanishes with
// the program's mount namespace.
func runOnExt4(t *testing.T, options ...string) string {
	t.Helper()
	testenv.Need(t, testenv.Root, testenv.Loop, testenv.Tool("gcc"), testenv.Tool("mount"))
	const script = `mount -o loop "$1" /mnt && shift && exec "$@"`
	args := append([]string{"-c", script, "sh", buildRoot(t, 2<<30), compile(t, "gcc")}, options...)
	cmd := exec.CommandContext(limited(t), "sh", append(args, "/mnt/data")...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	return output(t, cmd)
}

// runOnTmpfs runs the program on a new tmpfs of the host.
func runOnTmpfs(t *testing.T, options ...string) string {
	t.Helper()
	testenv.Need(t, testenv.Root, testenv.Tool("gcc"), testenv.Tool("mount"))
	const script = `mount -t tmpfs -o size=128m,mode=1777 fstest /mnt && exec "$@" /mnt`
	cmd := exec.CommandContext(limited(t), "sh", append([]string{"-c", script, "sh", compile(t, "gcc")}, options...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	return output(t, cmd)
}

// compileGuest builds the program as a unikernel.
func compileGuest(t *testing.T) string {
	t.Helper()
	testenv.Need(t, testenv.Tool("gcc"))
	return compile(t, testenv.Guest(t, "lkl-cc"), "-manifest", "manifest.json")
}

// buildRoot makes a root image with the directory /data, which every user can use.
func buildRoot(t *testing.T, size int64) string {
	t.Helper()
	testenv.Need(t, testenv.Tool("mke2fs"), testenv.Tool("debugfs"))
	from, to := t.TempDir(), filepath.Join(t.TempDir(), "root.ext4")
	data := filepath.Join(from, "data")
	must.NoError(t, os.Mkdir(data, 0o777))
	must.NoError(t, os.Chmod(data, 0o777))
	must.NoError(t, disk.Build(t.Context(), from, to, disk.BuildOptions{Size: size}))
	return to
}

// A transcript contains the lines of each case.
type transcript struct {
	names []string
	lines map[string][]string
}

func parseTranscript(t *testing.T, out string) transcript {
	t.Helper()
	parsed := transcript{lines: map[string][]string{}}
	name := ""
	for line := range strings.Lines(out) {
		line = strings.TrimSuffix(line, "\n")
		if strings.HasPrefix(line, " ") {
			must.NotEq(t, "", name)
			parsed.lines[name] = append(parsed.lines[name], strings.TrimSpace(line))
			continue
		}
		name = line
		parsed.names = append(parsed.names, name)
	}
	must.Eq(t, "done", name, must.Sprintf("the program has not reached its end:\n%s", lastLines(out)))
	parsed.names = parsed.names[:len(parsed.names)-1]
	return parsed
}

func lastLines(out string) string {
	lines := strings.Split(out, "\n")
	return strings.Join(lines[max(0, len(lines)-20):], "\n")
}

// firstDifference returns the first line of a case that is not the same.
func firstDifference(want, got []string) (wanted, line string, differs bool) {
	for i := range max(len(want), len(got)) {
		wanted, line = "no line", "no line"
		if i < len(want) {
			wanted = want[i]
		}
		if i < len(got) {
			line = got[i]
		}
		if wanted != line {
			return wanted, line, true
		}
	}
	return "", "", false
}

// requireSame compares the cases of a guest with the native ones. Expected differences map
// the name of a case to the first line of the guest that differs.
func requireSame(t *testing.T, native, guest string, expected map[string]string) {
	t.Helper()
	want, got := parseTranscript(t, native), parseTranscript(t, guest)
	must.Eq(t, want.names, got.names)
	for _, name := range want.names {
		wanted, line, differs := firstDifference(want.lines[name], got.lines[name])
		listed, isListed := expected[name]
		switch {
		case isListed && differs: // a case may differ for root only
			test.Eq(t, listed, line, test.Sprintf("case %s is listed in guest/lkl/fstest/differences", name))
		case differs:
			test.Unreachable(t, test.Sprintf("case %s: %q in the guest, %q natively", name, line, wanted))
		}
	}
}

// liveDifferences reads the file differences: the cases that differ on a live directory, and the
// line that the guest prints.
func liveDifferences(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("differences")
	must.NoError(t, err)
	all := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if name, rest, found := strings.Cut(strings.TrimSpace(line), ": "); found && line[0] != '#' && line[0] != '\t' {
			all[name] = rest
		}
	}
	return all
}

// users are the users as which the cases run: the name and the options of the program.
var users = []struct {
	name    string
	options []string
	uid     int
	atLeast int // number of cases
}{
	{"root", nil, 0, 180},
	{"user", []string{"-u"}, 1000, 150},
}

// Each difference is in a table of docs/posix.md, with its reason.
func TestDifferences_AreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../../docs/posix.md")
	must.NoError(t, err)
	text, err := os.ReadFile("differences")
	must.NoError(t, err)
	name := ""
	for line := range strings.Lines(string(text)) {
		if reason, found := strings.CutPrefix(line, "\t"); found {
			test.StrContains(t, string(page), "| `"+name+"` | "+strings.TrimSpace(reason)+" |\n")
		} else if line[0] != '#' {
			name, _, _ = strings.Cut(line, ": ")
		}
	}
}

// requireNativeAnswers runs the program in a directory of a guest, and natively. A case may
// differ as expected, or be the same.
func requireNativeAnswers(t *testing.T, directory string, runNatively func(t *testing.T, options ...string) string, expected map[string]string) {
	t.Helper()
	for _, user := range users {
		t.Run(user.name, func(t *testing.T) {
			native := runNatively(t, user.options...)
			must.Greater(t, user.atLeast, len(parseTranscript(t, native).names))

			run := []string{"run", "--mem=256", "--block:rootfs=" + buildRoot(t, 2<<30), "--", compileGuest(t), "--"}
			guest := output(t, exec.CommandContext(limited(t), testenv.Plugin(t), append(append(run, user.options...), directory)...))
			requireSame(t, native, guest, expected)
		})
	}
}

// The guest's ext4 is the file system of its root disk.
func TestExt4_GivesTheAnswersOfNativeExt4(t *testing.T) {
	requireNativeAnswers(t, "/data", runOnExt4, nil)
}

// The guest's /tmp is like the tmpfs of Linux 6.6. Older ones have neither attributes of users
// nor O_DIRECT, and a truncation to the same size does not set times.
func TestTmpfs_GivesTheAnswersOfNativeTmpfs(t *testing.T) {
	requireNativeAnswers(t, "/tmp", runOnTmpfs, map[string]string{
		"data_direct":  "pwrite(fd, buffer, sizeof(buffer), 0): 65536",
		"time_of_file": `truncate("f", 100): atime 0 mtime 1 ctime 1`,
		"xattr_values": `getxattr("f", "user.a", value, 100): ENODATA`,
	})
}

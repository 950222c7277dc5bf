// SPDX-License-Identifier: MPL-2.0

// Package lkl holds the tests of Linux as a unikernel: its programs are run as
// "nomad-driver-lkl run" runs them.
package lkl

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/disk"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// patience is how long anything in these tests may take.
const patience = time.Minute

// A setup is what a guest is given. The zero value of a field leaves it out.
type setup struct {
	kernel  string // path; "": testdata/probe.c
	memory  string // MB; "": 32
	root    string // image; "": a new one with the usual directories
	env     []string
	config  map[string]any
	args    []string
	options []string // of "nomad-driver-lkl run"
	tap     string   // name of a tap; "": a cable that nobody has the other end of
	extra   *os.File // one more descriptor, number 5
}

// A guest is one that runs.
type guest struct {
	*exec.Cmd
	root    string
	control *os.File
	lines   *bufio.Scanner
	errs    bytes.Buffer
	cancel  context.CancelFunc
	seen    []string
}

// words splits arguments at blanks.
func words(s string) []string { return strings.Fields(s) }

func decimal(n int) string { return strconv.Itoa(n) }

// escape writes a word as the guest takes it apart; see start/words.c.
func escape(word string) string {
	if word == "" {
		return `""`
	}
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`, `'`, `\'`, " ", `\ `, "\n", "\\\n", "\t", "\\\t").Replace(word)
}

// commandLine is the guest's words.
func (s *setup) commandLine(t testing.TB) []string {
	t.Helper()
	var words []string
	for _, e := range s.env {
		words = append(words, escape(e))
	}
	if s.config != nil { // its keys in the order of their names
		text, err := json.Marshal(s.config)
		must.NoError(t, err)
		words = append(words, "--config", escape(string(text)))
	}
	words = append(words, "--")
	for _, a := range s.args {
		words = append(words, escape(a))
	}
	return words
}

// image makes a root file system of so many MiB with files, by path.
func image(t testing.TB, size int64, files map[string]string) string {
	t.Helper()
	testenv.Need(t, testenv.Tool("mke2fs"), testenv.Tool("debugfs"))
	dir := t.TempDir()
	from, to := filepath.Join(dir, "files"), filepath.Join(dir, "root.ext4")
	must.NoError(t, os.Mkdir(from, 0o755))
	for path, content := range files {
		path = filepath.Join(from, path)
		must.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		must.NoError(t, os.WriteFile(path, []byte(content), 0o644))
	}
	must.NoError(t, disk.Build(t.Context(), from, to, disk.BuildOptions{Size: size << 20}))
	return to
}

// pair makes two ends of a cable for frames.
func pair(t testing.TB) (ours, theirs *os.File) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	must.NoError(t, err)
	ours, theirs = os.NewFile(uintptr(fds[0]), "ours"), os.NewFile(uintptr(fds[1]), "theirs")
	t.Cleanup(func() { _ = ours.Close() })
	return ours, theirs
}

// start runs a guest, until the test ends at the latest.
func start(t testing.TB, s setup) *guest {
	t.Helper()
	if s.kernel == "" {
		s.kernel = compiled(t, "probe.c")
	}
	if s.memory == "" {
		s.memory = "32"
	}
	if s.root == "" {
		s.root = image(t, 16, nil)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	g := &guest{root: s.root, cancel: cancel}
	ours, theirs := pair(t)
	g.control = ours
	_, cable := pair(t)
	files := []*os.File{theirs, cable}
	if s.tap == "" {
		s.tap = "@4"
	}
	if s.extra != nil {
		files = append(files, s.extra)
	}
	args := []string{"run", "--mem=" + s.memory, "--net:control=@3", "--net:tap=" + s.tap, "--block:rootfs=" + s.root}
	args = append(append(args, s.options...), "--", s.kernel)
	g.Cmd = exec.CommandContext(ctx, testenv.Plugin(t), append(args, s.commandLine(t)...)...)
	g.ExtraFiles = files
	g.Stderr = &g.errs
	out, err := g.StdoutPipe()
	must.NoError(t, err)
	g.lines = bufio.NewScanner(out)
	must.NoError(t, g.Start())
	must.NoError(t, errors.Join(theirs.Close(), cable.Close()))
	t.Cleanup(func() {
		cancel()
		if g.ProcessState == nil {
			_ = g.Cmd.Wait()
		}
	})
	return g
}

// expect reads the console up to a line that begins so, and gives it.
func (g *guest) expect(t testing.TB, prefix string) string {
	t.Helper()
	for g.lines.Scan() {
		g.seen = append(g.seen, g.lines.Text())
		if strings.HasPrefix(g.lines.Text(), prefix) {
			return g.lines.Text()
		}
	}
	t.Fatalf("the console ended before %q: %q %s", prefix, g.seen, g.errs.String())
	return ""
}

// send sends a frame to the control device.
func (g *guest) send(t testing.TB, frame string) {
	t.Helper()
	_, err := g.control.WriteString(frame)
	must.NoError(t, err)
}

// end waits for the guest's end and gives all lines of its console and its
// exit status.
func (g *guest) end(t testing.TB) ([]string, int) {
	t.Helper()
	for g.lines.Scan() {
		g.seen = append(g.seen, g.lines.Text())
	}
	err := g.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return g.seen, g.ProcessState.ExitCode()
}

// run runs a guest to its end.
func run(t testing.TB, s setup) ([]string, int) {
	t.Helper()
	return start(t, s).end(t)
}

// last is the last line that is not empty.
func last(lines []string) string {
	for i := len(lines) - 1; i >= 0; i-- {
		if strings.TrimSpace(lines[i]) != "" {
			return lines[i]
		}
	}
	return ""
}

// clean fails the test unless the file system needs neither repair nor replay.
func clean(t testing.TB, image string) {
	t.Helper()
	testenv.Need(t, testenv.Tool("e2fsck"))
	out, err := exec.Command("e2fsck", "-fn", image).CombinedOutput()
	must.NoError(t, err, must.Sprintf("e2fsck: %s", out))
	must.StrNotContains(t, string(out), "recovery")
}

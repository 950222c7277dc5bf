// SPDX-License-Identifier: MPL-2.0

// Package lkl tests Linux as a unikernel. Most tests run a guest with
// "nomad-driver-lkl run".
package lkl

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/disk"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// A guestSpec describes a guest to run.
type guestSpec struct {
	kernel  string         // path; by default testdata/probe.c compiled
	memory  string         // MB; by default 32
	root    string         // path of an image; by default a new, empty one
	env     []string       // NAME=VALUE
	config  map[string]any // nil leaves out --config
	args    []string       // arguments of the program in the guest
	options []string       // options of "nomad-driver-lkl run"
	tap     string         // name of a tap; by default a socket whose peer is closed
	extra   *os.File       // optional; "nomad-driver-lkl run" gets it as descriptor 5
}

// A guest is a running guest.
type guest struct {
	*exec.Cmd
	root    string         // path of its image
	control *os.File       // the host's end of the control device
	lines   *bufio.Scanner // lines of standard output and standard error not yet read
	seen    []string       // those already read
	cancel  context.CancelFunc
}

// escapeWord quotes a word for the guest's command line parser.
func escapeWord(word string) string {
	if word == "" {
		return `""`
	}
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`, `'`, `\'`, " ", `\ `, "\n", "\\\n", "\t", "\\\t").Replace(word)
}

// commandLine returns the words of the guest's command line.
func (s *guestSpec) commandLine(t testing.TB) []string {
	t.Helper()
	var words []string
	for _, e := range s.env {
		words = append(words, escapeWord(e))
	}
	if s.config != nil {
		text, err := json.Marshal(s.config)
		must.NoError(t, err)
		words = append(words, "--config", escapeWord(string(text)))
	}
	words = append(words, "--")
	for _, a := range s.args {
		words = append(words, escapeWord(a))
	}
	return words
}

// buildImage makes an ext4 image of the given size with files, which maps paths
// to contents.
func buildImage(t testing.TB, sizeMiB int64, files map[string]string) string {
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
	must.NoError(t, disk.Build(t.Context(), from, to, disk.BuildOptions{Size: sizeMiB << 20}))
	return to
}

// socketPair makes a pair of datagram sockets, which serves as a network cable
// or as a control device. The test closes ours; theirs belongs to the caller.
func socketPair(t testing.TB) (ours, theirs *os.File) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	must.NoError(t, err)
	ours, theirs = os.NewFile(uintptr(fds[0]), "ours"), os.NewFile(uintptr(fds[1]), "theirs")
	t.Cleanup(func() { _ = ours.Close() })
	return ours, theirs
}

// startGuest starts a guest. It is killed if it still runs when the test ends.
func startGuest(t testing.TB, s guestSpec) *guest {
	t.Helper()
	if s.kernel == "" {
		s.kernel = compileGuest(t, "probe.c")
	}
	if s.memory == "" {
		s.memory = "32"
	}
	if s.root == "" {
		s.root = buildImage(t, 16, nil)
	}
	ctx, cancel := context.WithTimeout(context.Background(), testenv.Patience)
	g := &guest{root: s.root, cancel: cancel}
	ours, theirs := socketPair(t)
	g.control = ours
	_, cable := socketPair(t)
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
	out, err := g.StdoutPipe()
	must.NoError(t, err)
	g.Stderr = g.Stdout
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

// expectLine reads the console up to a line with this prefix, and returns it.
func (g *guest) expectLine(t testing.TB, prefix string) string {
	t.Helper()
	for g.lines.Scan() {
		g.seen = append(g.seen, g.lines.Text())
		if strings.HasPrefix(g.lines.Text(), prefix) {
			return g.lines.Text()
		}
	}
	t.Fatalf("the console ended before %q: %q", prefix, g.seen)
	return ""
}

// sendControl sends a frame to the guest's control device.
func (g *guest) sendControl(t testing.TB, frame string) {
	t.Helper()
	_, err := g.control.WriteString(frame)
	must.NoError(t, err)
}

// waitExit waits until the guest ends, and returns all lines of its output and
// its exit status.
func (g *guest) waitExit(t testing.TB) ([]string, int) {
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

// runGuest runs a guest to its end and returns the same as waitExit.
func runGuest(t testing.TB, s guestSpec) ([]string, int) {
	t.Helper()
	return startGuest(t, s).waitExit(t)
}

// lastLine returns the last line that is not blank.
func lastLine(lines []string) string {
	for i := len(lines) - 1; i >= 0; i-- {
		if strings.TrimSpace(lines[i]) != "" {
			return lines[i]
		}
	}
	return ""
}

// requireCleanDisk fails the test if the file system needs a repair or a replay
// of its journal.
func requireCleanDisk(t testing.TB, image string) {
	t.Helper()
	testenv.Need(t, testenv.Tool("e2fsck"))
	out, err := exec.Command("e2fsck", "-fn", image).CombinedOutput()
	must.NoError(t, err, must.Sprintf("e2fsck: %s", out))
	must.StrNotContains(t, string(out), "recovery")
}

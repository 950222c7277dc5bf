// SPDX-License-Identifier: MPL-2.0

package apps

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// Variables of TestRedis_PassesItsOwnUnitTests.
const (
	unitsVariable  = "LKL_REDIS_UNITS"  // blank separated; "all"
	nativeVariable = "LKL_REDIS_NATIVE" // not empty: Debian's redis-server instead of the guest
)

// quick are the units that are run without being asked for.
const quick = "unit/auth unit/protocol unit/keyspace unit/info unit/type/hash unit/type/stream-cgroups unit/multi unit/pubsub " +
	"unit/acl unit/scripting unit/introspection unit/limits unit/maxmemory unit/client-eviction"

// The lines of redis's runner, without their colours.
var (
	colours   = regexp.MustCompile("\x1b\\[[0-9;]*m")
	passed    = regexp.MustCompile(`(?m)^\[ok\]: `)
	leftOut   = regexp.MustCompile(`(?m)^\[(skip|ignore)\]: `)
	failed    = regexp.MustCompile(`(?m)^\[(err|exception|TIMEOUT)\]`)
	nextState = regexp.MustCompile(`(?m)^\[(ok|err|exception|TIMEOUT|testing|skip|ignore|done|[0-9]+/[0-9]+ done)\]`)
)

// TestRedis_PassesItsOwnUnitTests runs the unit tests of redis's source package:
// each server that they start is a unikernel. What is left out is listed, with
// the reasons, in redis/selftest/left-out.
func TestRedis_PassesItsOwnUnitTests(t *testing.T) {
	testenv.Need(t, testenv.Tool("tclsh"), testenv.Tool("redis-cli"), testenv.Tool("redis-benchmark"), testenv.Tool("iptables"))
	units := os.Getenv(unitsVariable)
	limit := 5 * time.Minute
	if units != "" {
		limit = time.Hour
	}
	if !namespaced(t, "lkl-redis.spt", limit) {
		return
	}
	out, err := exec.Command("../../source", "redis").Output()
	must.NoError(t, err)
	dir := t.TempDir()
	source := filepath.Join(dir, "source")
	must.NoError(t, os.CopyFS(source, os.DirFS(strings.TrimSpace(string(out)))))
	prepare(t, source)
	names, unwanted := readLeftOut(t, source, filepath.Join(dir, "names"))
	for _, unit := range unitsOf(t, source, units) {
		if slices.Contains(unwanted, unit) {
			continue
		}
		t.Run(unit, func(t *testing.T) {
			runUnit(t, source, names, unit)
		})
	}
}

// prepare puts the programs where the tests look for them.
func prepare(t *testing.T, source string) {
	t.Helper()
	self, err := os.Executable()
	must.NoError(t, err)
	programs := map[string]string{"redis-server": self}
	for _, name := range []string{"redis-cli", "redis-benchmark", "redis-server"} {
		if programs[name] == "" || os.Getenv(nativeVariable) != "" {
			programs[name], err = exec.LookPath(name)
			must.NoError(t, err)
		}
		must.NoError(t, os.Symlink(programs[name], filepath.Join(source, "src", name)))
	}
	t.Setenv(standInPlugin, testenv.Plugin(t))
	t.Setenv(standInGuest, testenv.Guest(t, "lkl-redis.spt"))
	must.NoError(t, os.WriteFile("/proc/sys/net/ipv4/conf/all/route_localnet", []byte("1"), 0o644))
	const rule = "-w -t nat -A POSTROUTING -s 127.0.0.1 ! -o lo -j MASQUERADE"
	out, err := exec.Command("iptables", strings.Fields(rule)...).CombinedOutput()
	must.NoError(t, err, must.Sprintf("iptables %s: %s", rule, out))
}

// readLeftOut writes the names of tests to a file as redis's runner takes it,
// takes single lines out of units, and gives that file and the units that are
// left out whole.
func readLeftOut(t *testing.T, source, file string) (names string, units []string) {
	t.Helper()
	text, err := os.ReadFile("redis/selftest/left-out")
	must.NoError(t, err)
	var tests []string
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		unit, begin, some := strings.Cut(line, ": ")
		switch {
		case strings.HasPrefix(line, "unit/") && some:
			cut(t, filepath.Join(source, "tests", unit+".tcl"), begin)
		case strings.HasPrefix(line, "unit/"):
			units = append(units, line)
		case line != "" && !strings.HasPrefix(line, "#"):
			tests = append(tests, line)
		}
	}
	must.NoError(t, os.WriteFile(file, []byte(strings.Join(tests, "\n")), 0o644))
	return file, units
}

// cut takes the lines out of a file that begin so.
func cut(t *testing.T, path, begin string) {
	t.Helper()
	text, err := os.ReadFile(path)
	must.NoError(t, err)
	lines := slices.Collect(strings.Lines(string(text)))
	kept := slices.DeleteFunc(slices.Clone(lines), func(line string) bool { return strings.HasPrefix(line, begin) })
	must.Less(t, len(lines), len(kept), must.Sprintf("no line of %s begins with %s", path, begin))
	must.NoError(t, os.WriteFile(path, []byte(strings.Join(kept, "")), 0o644))
}

// unitsOf gives the units that are wanted.
func unitsOf(t *testing.T, source, wanted string) []string {
	t.Helper()
	switch wanted {
	case "":
		return strings.Fields(quick)
	case "all":
		list := exec.Command("./runtest", "--list-tests")
		list.Dir = source
		out, err := list.Output()
		must.NoError(t, err)
		return slices.DeleteFunc(strings.Fields(string(out)), func(name string) bool { return !strings.HasPrefix(name, "unit/") })
	}
	return strings.Fields(wanted)
}

// runUnit runs the tests of a unit, one after the other.
func runUnit(t *testing.T, source, names, unit string) {
	t.Helper()
	cmd := exec.Command("./runtest", "--clients", "1", "--durable", "--timeout", "120", "--tags", "-repl -needs:repl -cluster",
		"--skipfile", names, "--single", unit)
	cmd.Dir = source
	out, err := cmd.CombinedOutput()
	out = colours.ReplaceAll(out, nil)
	ok, bad := len(passed.FindAll(out, -1)), failed.FindAllIndex(out, -1)
	t.Logf("%d passed, %d failed, %d left out", ok, len(bad), len(leftOut.FindAll(out, -1)))
	for _, at := range bad {
		text := out[at[0]:]
		if end := nextState.FindIndex(text[1:]); end != nil {
			text = text[:end[0]+1]
		}
		t.Errorf("%.2000s", bytes.TrimSpace(text))
	}
	if err != nil && len(bad) == 0 {
		t.Fatalf("runtest: %v: %s", err, out[max(0, len(out)-2000):])
	}
	must.Positive(t, ok, must.Sprint("not one test has passed"))
}

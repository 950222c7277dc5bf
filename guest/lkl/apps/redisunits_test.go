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

// Environment variables of TestRedis_PassesUpstreamUnitTests.
const (
	unitsEnv  = "LKL_REDIS_UNITS"  // names of units, separated by spaces, or "all"
	nativeEnv = "LKL_REDIS_NATIVE" // if set, tests Debian's redis-server instead of the guest
)

// quickUnits are the units that run by default.
const quickUnits = "unit/auth unit/protocol unit/keyspace unit/info unit/type/hash unit/type/stream-cgroups unit/multi unit/pubsub " +
	"unit/acl unit/scripting unit/introspection unit/limits unit/maxmemory unit/client-eviction unit/aofrw"

// Patterns of the test runner's output, which is colored.
var (
	ansiColors  = regexp.MustCompile("\x1b\\[[0-9;]*m")
	passedLine  = regexp.MustCompile(`(?m)^\[ok\]: `)
	skippedLine = regexp.MustCompile(`(?m)^\[(skip|ignore)\]: `)
	failedLine  = regexp.MustCompile(`(?m)^\[(err|exception|TIMEOUT)\]`)
	statusLine  = regexp.MustCompile(`(?m)^\[(ok|err|exception|TIMEOUT|testing|skip|ignore|done|[0-9]+/[0-9]+ done)\]`)
)

// TestRedis_PassesUpstreamUnitTests runs the unit tests of redis's source
// package. Each server that they start is a unikernel. The file
// redis/selftest/left-out lists the excluded tests with the reasons.
func TestRedis_PassesUpstreamUnitTests(t *testing.T) {
	testenv.Need(t, testenv.Tool("tclsh"), testenv.Tool("redis-cli"), testenv.Tool("redis-benchmark"), testenv.Tool("iptables"))
	units := os.Getenv(unitsEnv)
	limit := upstreamLimit
	if units != "" {
		limit = time.Hour
	}
	if !enterOwnNetwork(t, "lkl-redis.spt", limit) {
		return
	}
	out, err := exec.Command("../../source", "redis").Output()
	must.NoError(t, err)
	dir := t.TempDir()
	source := filepath.Join(dir, "source")
	must.NoError(t, os.CopyFS(source, os.DirFS(strings.TrimSpace(string(out)))))
	installTestPrograms(t, source)
	names, excluded := readSkipList(t, source, filepath.Join(dir, "names"))
	for _, unit := range selectUnits(t, source, units) {
		if slices.Contains(excluded, unit) {
			continue
		}
		t.Run(unit, func(t *testing.T) {
			runUnit(t, source, names, unit)
		})
	}
}

// installTestPrograms links the programs to the paths where the tests expect
// them, and lets packets from 127.0.0.1 reach the guests.
func installTestPrograms(t *testing.T, source string) {
	t.Helper()
	self, err := os.Executable()
	must.NoError(t, err)
	programs := map[string]string{"redis-server": self}
	for _, name := range []string{"redis-cli", "redis-benchmark", "redis-server"} {
		if programs[name] == "" || os.Getenv(nativeEnv) != "" {
			programs[name], err = exec.LookPath(name)
			must.NoError(t, err)
		}
		must.NoError(t, os.Symlink(programs[name], filepath.Join(source, "src", name)))
	}
	t.Setenv(pluginEnv, testenv.Plugin(t))
	t.Setenv(guestEnv, testenv.Guest(t, "lkl-redis.spt"))
	must.NoError(t, os.WriteFile("/proc/sys/net/ipv4/conf/all/route_localnet", []byte("1"), 0o644))
	const rule = "-w -t nat -A POSTROUTING -s 127.0.0.1 ! -o lo -j MASQUERADE"
	out, err := exec.Command("iptables", strings.Fields(rule)...).CombinedOutput()
	must.NoError(t, err, must.Sprintf("iptables %s: %s", rule, out))
}

// readSkipList reads the list of excluded tests. It writes the names of single
// tests to a file for redis's runner, removes single lines from units, and
// returns the path of that file and the names of units to exclude as a whole.
func readSkipList(t *testing.T, source, file string) (names string, units []string) {
	t.Helper()
	text, err := os.ReadFile("redis/selftest/left-out")
	must.NoError(t, err)
	var tests []string
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		unit, prefix, isLine := strings.Cut(line, ": ")
		switch {
		case strings.HasPrefix(line, "unit/") && isLine:
			removeLines(t, filepath.Join(source, "tests", unit+".tcl"), prefix)
		case strings.HasPrefix(line, "unit/"):
			units = append(units, line)
		case line != "" && !strings.HasPrefix(line, "#"):
			tests = append(tests, line)
		}
	}
	must.NoError(t, os.WriteFile(file, []byte(strings.Join(tests, "\n")), 0o644))
	return file, units
}

// removeLines removes the lines with a prefix from a file.
func removeLines(t *testing.T, path, prefix string) {
	t.Helper()
	text, err := os.ReadFile(path)
	must.NoError(t, err)
	lines := slices.Collect(strings.Lines(string(text)))
	kept := slices.DeleteFunc(slices.Clone(lines), func(line string) bool { return strings.HasPrefix(line, prefix) })
	must.Less(t, len(lines), len(kept), must.Sprintf("no line of %s begins with %s", path, prefix))
	must.NoError(t, os.WriteFile(path, []byte(strings.Join(kept, "")), 0o644))
}

// selectUnits returns the names of the units to run.
func selectUnits(t *testing.T, source, wanted string) []string {
	t.Helper()
	switch wanted {
	case "":
		return strings.Fields(quickUnits)
	case "all":
		list := exec.Command("./runtest", "--list-tests")
		list.Dir = source
		out, err := list.Output()
		must.NoError(t, err)
		return slices.DeleteFunc(strings.Fields(string(out)), func(name string) bool { return !strings.HasPrefix(name, "unit/") })
	}
	return strings.Fields(wanted)
}

// runUnit runs the tests of a unit sequentially.
func runUnit(t *testing.T, source, names, unit string) {
	t.Helper()
	cmd := exec.Command("./runtest", "--clients", "1", "--durable", "--timeout", "120", "--tags", "-repl -needs:repl -cluster",
		"--skipfile", names, "--single", unit)
	cmd.Dir = source
	out, err := cmd.CombinedOutput()
	out = ansiColors.ReplaceAll(out, nil)
	ok, bad := len(passedLine.FindAll(out, -1)), failedLine.FindAllIndex(out, -1)
	t.Logf("%d passed, %d failed, %d skipped", ok, len(bad), len(skippedLine.FindAll(out, -1)))
	for _, at := range bad {
		text := out[at[0]:]
		if end := statusLine.FindIndex(text[1:]); end != nil {
			text = text[:end[0]+1]
		}
		t.Errorf("%.2000s", bytes.TrimSpace(text))
	}
	if err != nil && len(bad) == 0 {
		t.Fatalf("runtest: %v: %s", err, out[max(0, len(out)-2000):])
	}
	must.Positive(t, ok, must.Sprint("no test has passed"))
}

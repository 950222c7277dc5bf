// SPDX-License-Identifier: MPL-2.0

package guest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/shoenig/test"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// guestCommand runs a unikernel with "nomad-driver-lkl run" and its options.
func guestCommand(ctx context.Context, t *testing.T, options []string, kernel string, args ...string) *exec.Cmd {
	t.Helper()
	all := append([]string{"run", "--mem=16"}, options...)
	all = append(all, "--", testenv.Guest(t, kernel))
	return exec.CommandContext(ctx, testenv.Plugin(t), append(all, args...)...)
}

// runGuest runs a unikernel to its end, and returns its output and exit status.
func runGuest(t *testing.T, options []string, kernel string, args ...string) (string, int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testenv.Patience)
	defer cancel()
	cmd := guestCommand(ctx, t, options, kernel, args...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	must.NoError(t, ctx.Err(), must.Sprintf("%s %v: %s", kernel, args, errs.String()))
	return string(out), cmd.ProcessState.ExitCode()
}

func makeDisk(t *testing.T, size int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	must.NoError(t, os.WriteFile(path, nil, 0o600))
	must.NoError(t, os.Truncate(path, size))
	return path
}

func TestHello_PrintsCommandLine(t *testing.T) {
	out, status := runGuest(t, nil, "hello.spt", "a", "--b", `"c`)
	test.Eq(t, 0, status)
	test.StrContains(t, out, "hello from Solo5 spt")
	test.StrContains(t, out, "\ncommand line: a --b \"c\n")
}

func TestHello_OmitsBindingsOptions(t *testing.T) {
	out, _ := runGuest(t, nil, "hello.spt", "--solo5:quiet", "--solo5:debug", "x", "--solo5:warn")
	test.StrContains(t, out, "\ncommand line: x --solo5:warn\n")
}

func TestDisk_ReadsBackItsPattern(t *testing.T) {
	for _, block := range []int{512, 1024, 4096, 8192} {
		path := makeDisk(t, 256<<10)
		options := []string{"--block:disk=" + path, fmt.Sprintf("--block-sector-size:disk=%d", block)}

		out, status := runGuest(t, options, "disk.spt", "seed=7")
		test.Eq(t, 0, status, test.Sprint(out))
		test.StrContains(t, out, fmt.Sprintf("disk: %d blocks, 0 wrong", (256<<10)/block))

		_, status = runGuest(t, options, "disk.spt", "seed=7", "mode=check")
		test.Eq(t, 0, status)
	}
}

func TestDisk_DetectsCorruption(t *testing.T) {
	path := makeDisk(t, 64<<10)
	options := []string{"--block:disk=" + path}
	_, status := runGuest(t, options, "disk.spt", "mode=write")
	must.Eq(t, 0, status)

	f, err := os.OpenFile(path, os.O_RDWR, 0)
	must.NoError(t, err)
	_, err = f.WriteAt([]byte("x"), 33333)
	must.NoError(t, errors.Join(err, f.Close()))

	out, status := runGuest(t, options, "disk.spt", "mode=check")
	test.Eq(t, 1, status)
	test.StrContains(t, out, "disk: first wrong block at 33280")
}

func TestCrash_EndsWithExpectedStatus(t *testing.T) {
	const segv, fpe, ill, sys = 128 + 11, 128 + 8, 128 + 4, 128 + 31
	for _, c := range []struct {
		args   string
		status int
	}{
		{"exit", 0},
		{"exit 3", 3},
		{"exit 256", 0},
		{"abort", 255},
		{"null", segv},
		{"fault", segv},
		{"text", segv},
		{"jump", segv},
		{"stack", segv},
		{"divide", fpe},
		{"opcode", ill},
		{"syscall", sys},
		{"syscall 1 2 0 0", sys},
		{"int80", sys},
		{"pointer", 0},
		{"", 2},
	} {
		out, status := runGuest(t, nil, "crash.spt", strings.Fields(c.args)...)
		test.Eq(t, c.status, status, test.Sprintf("%q: %s", c.args, out))
	}
}

func TestSpew_NumbersLines(t *testing.T) {
	out, status := runGuest(t, nil, "spew.spt", "lines=5000", "width=40")
	test.Eq(t, 0, status)
	lines := strings.SplitAfter(out, "\n")
	must.SliceLen(t, 5001, lines)
	for i, line := range lines[:5000] {
		must.StrHasPrefix(t, fmt.Sprintf("spew %010d.", i+1), line)
		must.Eq(t, 40, len(line))
	}
}

func TestSpew_WaitsBetweenLines(t *testing.T) {
	start := time.Now()
	_, status := runGuest(t, nil, "spew.spt", "lines=5", fmt.Sprint("every=", 20*time.Millisecond.Nanoseconds()))
	test.Eq(t, 0, status)
	test.GreaterEq(t, 100*time.Millisecond, time.Since(start))
}

func TestSpin_EndsAfterItsTime(t *testing.T) {
	start := time.Now()
	_, status := runGuest(t, nil, "spin.spt", "seconds=1")
	test.Eq(t, 0, status)
	test.GreaterEq(t, time.Second, time.Since(start))
}

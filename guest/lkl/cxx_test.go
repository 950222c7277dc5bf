// SPDX-License-Identifier: MPL-2.0

package lkl

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

const cxxStandard = "-std=c++20"

// runNativeCXX builds the C++ program with the host's g++ and libstdc++, runs it
// as a host process, and returns its output and exit status.
func runNativeCXX(t *testing.T) ([]string, int) {
	t.Helper()
	testenv.Need(t, testenv.Tool("g++"))
	dir := t.TempDir()
	program := filepath.Join(dir, "program")
	out, err := exec.Command("g++", cxxStandard, "-O2", "-pthread", "testdata/cxx.cc", "-o", program).CombinedOutput()
	must.NoError(t, err, must.Sprintf("g++: %s", out))
	cmd := exec.CommandContext(t.Context(), program)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "LC_ALL=C")
	out, err = cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(out), "\n"), "\n"), cmd.ProcessState.ExitCode()
}

func TestCXX_PrintsSameAsNative(t *testing.T) {
	kernel := compileGuest(t, "cxx.cc", cxxStandard)
	want, wantStatus := runNativeCXX(t)
	must.Eq(t, 3, wantStatus, must.Sprintf("natively: %q", want))
	root := buildImage(t, 16, nil)
	lines, status := runGuest(t, guestSpec{kernel: kernel, root: root, memory: "64"})
	must.Eq(t, want, lines)
	must.Eq(t, wantStatus, status)
	requireCleanDisk(t, root)
}

func TestCXX_UncaughtExceptionAborts(t *testing.T) {
	_, status := runGuest(t, guestSpec{kernel: compileGuest(t, "cxx.cc", cxxStandard), memory: "64", args: []string{"uncaught"}})
	must.Eq(t, 134, status)
}

// SPDX-License-Identifier: MPL-2.0

package lkl

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shoenig/test"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// runCompiler runs lkl-cc in a directory, with a C program on its standard
// input, and returns the first bytes of its output.
func runCompiler(t *testing.T, dir string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), testenv.Guest(t, "lkl-cc"), args...)
	cmd.Dir = dir
	cmd.Stdin = strings.NewReader("#include <stdio.h>\nint main(void) { return puts(\"x\") < 0; }\n")
	out, err := cmd.CombinedOutput()
	return string(out[:min(len(out), 1000)]), err
}

// Configure scripts and makefiles also use other options than -c and -o.
func TestCompiler_AcceptsCommonLinkOptions(t *testing.T) {
	for _, args := range []string{
		"-x c - -o program",                                        // compiles and links in one step
		"-static-pie -x c - -o program",                            // asks for another kind of static file
		"-pie -rdynamic -x c - -o program -lm -lpthread -lrt -ldl", // names libraries that musl has merged into libc
		"-target native -x c - -o program",
	} {
		t.Run(args, func(t *testing.T) {
			dir := t.TempDir()
			out, err := runCompiler(t, dir, strings.Fields(args)...)
			must.NoError(t, err, must.Sprint(out))
			if strings.Contains(args, "native") {
				ran, err := exec.Command(filepath.Join(dir, "program")).Output()
				must.NoError(t, err)
				must.Eq(t, "x\n", string(ran))
				return
			}
			lines, status := runGuest(t, guestSpec{kernel: filepath.Join(dir, "program")})
			test.Eq(t, []string{"x"}, lines)
			test.Eq(t, 0, status)
		})
	}
}

func TestCompiler_LinksPartially(t *testing.T) {
	dir := t.TempDir()
	for _, args := range []string{"-x c -c - -o a.o", "-r a.o -o part.o", "part.o -o program"} {
		out, err := runCompiler(t, dir, strings.Fields(args)...)
		must.NoError(t, err, must.Sprint(out))
	}
	part, err := os.Stat(filepath.Join(dir, "part.o"))
	must.NoError(t, err)
	must.Less(t, 64<<10, part.Size()) // a partial link leaves out Linux
	lines, _ := runGuest(t, guestSpec{kernel: filepath.Join(dir, "program")})
	must.Eq(t, []string{"x"}, lines)
}

func TestCompiler_ReportsMuslTarget(t *testing.T) {
	for _, arg := range []string{"-dumpmachine", "-print-multiarch"} {
		out, err := runCompiler(t, "", arg)
		must.NoError(t, err)
		test.Eq(t, "x86_64-linux-musl\n", out)
	}
}

func TestCompiler_RejectsUnsupportedOptions(t *testing.T) {
	for args, line := range map[string]string{
		"-shared -x c - -o lib.so":            "lkl-cc: -shared: unikernels have no shared libraries\n",
		"-target xen -x c - -o program":       "lkl-cc: unknown target xen: use spt, hvt or native\n",
		"-x c - -o program -manifest":         "lkl-cc: -manifest needs a value\n",
		"-manifest /none -x c - -o program":   "manifest: open /none: no such file or directory\n",
		"-target=native -shared -x c - -o so": "lkl-cc: -shared: unikernels have no shared libraries\n",
	} {
		out, err := runCompiler(t, t.TempDir(), strings.Fields(args)...)
		test.Error(t, err)
		test.Eq(t, line, out)
	}
}

// The host's static libraries are compiled for another libc. libc6-dev has libanl.a.
func TestCompiler_DoesNotFindTheHostsLibraries(t *testing.T) {
	cmd := exec.Command("gcc", "-static", "-x", "c", "-", "-o", filepath.Join(t.TempDir(), "program"), "-lanl")
	cmd.Stdin = strings.NewReader("int main(void) { return 0; }\n")
	out, err := cmd.CombinedOutput()
	must.NoError(t, err, must.Sprintf("the host has the library: %s", out))
	for _, target := range []string{"spt", "native"} {
		out, err := runCompiler(t, t.TempDir(), "-target", target, "-x", "c", "-", "-o", "program", "-lanl")
		test.Error(t, err)
		test.StrContains(t, out, "cannot find -lanl")
	}
}

// Configure scripts test threads with native programs.
func TestCompiler_NativeProgramsHaveThreads(t *testing.T) {
	program := filepath.Join(t.TempDir(), "program")
	out, err := runCompiler(t, "testdata", "-target", "native", "-O2", "threads.c", "-pthread", "-o", program)
	must.NoError(t, err, must.Sprint(out))
	ran, err := exec.Command(program).CombinedOutput()
	must.NoError(t, err, must.Sprintf("%s", ran))
	must.Eq(t, "80000 of 80000, 500 ended, 1 CPU\n", string(ran))
}

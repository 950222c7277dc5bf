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

// cc runs lkl-cc in a directory, with a program of C as its input, and gives
// what it wrote.
func cc(t *testing.T, dir string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), testenv.Guest(t, "lkl-cc"), args...)
	cmd.Dir = dir
	cmd.Stdin = strings.NewReader("#include <stdio.h>\nint main(void) { return puts(\"x\") < 0; }\n")
	out, err := cmd.CombinedOutput()
	return string(out[:min(len(out), 1000)]), err
}

// What configure scripts and makefiles do beside "cc -c" and "cc -o".
func TestCompiler_LinksAsOthersDo(t *testing.T) {
	for _, args := range []string{
		"-x c - -o program",                                        // no object is C
		"-static-pie -x c - -o program",                            // one static file it is
		"-pie -rdynamic -x c - -o program -lm -lpthread -lrt -ldl", // libraries that are libc here
		"-target native -x c - -o program",
	} {
		t.Run(args, func(t *testing.T) {
			dir := t.TempDir()
			out, err := cc(t, dir, words(args)...)
			must.NoError(t, err, must.Sprint(out))
			if strings.Contains(args, "native") {
				ran, err := exec.Command(filepath.Join(dir, "program")).Output()
				must.NoError(t, err)
				must.Eq(t, "x\n", string(ran))
				return
			}
			lines, status := run(t, setup{kernel: filepath.Join(dir, "program")})
			test.Eq(t, []string{"x"}, lines)
			test.Eq(t, 0, status)
		})
	}
}

func TestCompiler_ObjectsAreLinkedInParts(t *testing.T) {
	dir := t.TempDir()
	for _, args := range []string{"-x c -c - -o a.o", "-r a.o -o part.o", "part.o -o program"} {
		out, err := cc(t, dir, words(args)...)
		must.NoError(t, err, must.Sprint(out))
	}
	part, err := os.Stat(filepath.Join(dir, "part.o"))
	must.NoError(t, err)
	must.Less(t, 64<<10, part.Size()) // without the kernel
	lines, _ := run(t, setup{kernel: filepath.Join(dir, "program")})
	must.Eq(t, []string{"x"}, lines)
}

func TestCompiler_TellsWhatItIs(t *testing.T) {
	for _, arg := range []string{"-dumpmachine", "-print-multiarch"} {
		out, err := cc(t, "", arg)
		must.NoError(t, err)
		test.Eq(t, "x86_64-linux-musl\n", out)
	}
}

func TestCompiler_RefusesWhatCannotBe(t *testing.T) {
	for args, line := range map[string]string{
		"-shared -x c - -o lib.so":            "lkl-cc: a unikernel has no shared libraries\n",
		"-target xen -x c - -o program":       "lkl-cc: unknown target xen: spt, hvt or native\n",
		"-x c - -o program -manifest":         "lkl-cc: -manifest needs a value\n",
		"-manifest /none -x c - -o program":   "manifest: open /none: no such file or directory\n",
		"-target=native -shared -x c - -o so": "lkl-cc: a unikernel has no shared libraries\n",
	} {
		out, err := cc(t, t.TempDir(), words(args)...)
		test.Error(t, err)
		test.Eq(t, line, out)
	}
}

// SPDX-License-Identifier: MPL-2.0

package lkl

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// compiled caches the kernels that the tests compile, since a link takes a
// second. The key consists of the source and the compiler's options.
var compiled struct {
	sync.Mutex
	dir     string
	kernels map[string]string
}

func TestMain(m *testing.M) {
	status := m.Run()
	if compiled.dir != "" {
		_ = os.RemoveAll(compiled.dir)
	}
	os.Exit(status)
}

// compileGuest compiles a program of testdata, with lkl-cc for C and lkl-c++
// for C++, and returns the path of the kernel.
func compileGuest(t testing.TB, source string, options ...string) string {
	t.Helper()
	cc := testenv.Guest(t, map[string]string{".c": "lkl-cc", ".cc": "lkl-c++"}[filepath.Ext(source)])
	compiled.Lock()
	defer compiled.Unlock()
	key := fmt.Sprint(source, options)
	if path, ok := compiled.kernels[key]; ok {
		return path
	}
	if compiled.dir == "" {
		dir, err := os.MkdirTemp("", "lkl-test-")
		must.NoError(t, err)
		compiled.dir, compiled.kernels = dir, map[string]string{}
	}
	path := filepath.Join(compiled.dir, fmt.Sprint(len(compiled.kernels)))
	args := append(options, "-O2", "-Wall", "-Wextra", "-Werror", filepath.Join("testdata", source), "-o", path)
	out, err := exec.Command(cc, args...).CombinedOutput()
	must.NoError(t, err, must.Sprintf("%s %v: %s", cc, args, out))
	compiled.kernels[key] = path
	return path
}

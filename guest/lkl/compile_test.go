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

// compiler keeps what tests have compiled: a link takes a second.
var compiler struct {
	sync.Mutex
	dir   string
	built map[string]string
}

func TestMain(m *testing.M) {
	status := m.Run()
	if compiler.dir != "" {
		_ = os.RemoveAll(compiler.dir)
	}
	os.Exit(status)
}

// compiled compiles a program of testdata with lkl-cc, one of C++ with lkl-c++,
// and gives its path.
func compiled(t testing.TB, source string, options ...string) string {
	t.Helper()
	cc := testenv.Guest(t, map[string]string{".c": "lkl-cc", ".cc": "lkl-c++"}[filepath.Ext(source)])
	compiler.Lock()
	defer compiler.Unlock()
	key := fmt.Sprint(source, options)
	if path, ok := compiler.built[key]; ok {
		return path
	}
	if compiler.dir == "" {
		dir, err := os.MkdirTemp("", "lkl-test-")
		must.NoError(t, err)
		compiler.dir, compiler.built = dir, map[string]string{}
	}
	path := filepath.Join(compiler.dir, fmt.Sprint(len(compiler.built)))
	args := append(options, "-O2", "-Wall", "-Wextra", "-Werror", filepath.Join("testdata", source), "-o", path)
	out, err := exec.Command(cc, args...).CombinedOutput()
	must.NoError(t, err, must.Sprintf("%s %v: %s", cc, args, out))
	compiler.built[key] = path
	return path
}

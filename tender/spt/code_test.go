// SPDX-License-Identifier: MPL-2.0

//go:build linux && amd64

package spt

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

func TestCode_MatchesTheSource(t *testing.T) {
	testenv.Need(t, testenv.Tool("as"), testenv.Tool("objcopy"), testenv.Tool("gcc"))
	object, binary := filepath.Join(t.TempDir(), "o"), filepath.Join(t.TempDir(), "bin")
	for _, command := range [][]string{
		{"gcc", "-c", "-o", object, "testdata/launcher.S"},
		{"objcopy", "-O", "binary", "-j", ".text", object, binary},
	} {
		output, err := exec.Command(command[0], command[1:]...).CombinedOutput()
		must.NoError(t, err, must.Sprint(string(output)))
	}
	assembled, err := os.ReadFile(binary)
	must.NoError(t, err)
	size := len(assembled) - 6*8
	must.SliceLen(t, size, code)
	must.Eq(t, assembled[:size], code)
}

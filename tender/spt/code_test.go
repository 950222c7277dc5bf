// SPDX-License-Identifier: MPL-2.0

//go:build linux && amd64

package spt

import (
	"debug/elf"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

func TestCode_MatchesTheSource(t *testing.T) {
	testenv.Need(t, testenv.Tool("as"), testenv.Tool("objcopy"), testenv.Tool("gcc"))
	object, text := filepath.Join(t.TempDir(), "o"), filepath.Join(t.TempDir(), "bin")
	for _, command := range [][]string{
		{"gcc", "-c", "-o", object, "testdata/launcher.S"},
		{"objcopy", "-O", "binary", "-j", ".text", object, text},
	} {
		output, err := exec.Command(command[0], command[1:]...).CombinedOutput()
		must.NoError(t, err, must.Sprint(string(output)))
	}
	assembled, err := os.ReadFile(text)
	must.NoError(t, err)
	size := len(assembled) - binary.Size(parameters{})
	must.SliceLen(t, size, code)
	must.Eq(t, assembled[:size], code)

	file, err := elf.Open(object)
	must.NoError(t, err)
	defer func() { must.NoError(t, file.Close()) }()
	symbols, err := file.Symbols()
	must.NoError(t, err)
	i := slices.IndexFunc(symbols, func(s elf.Symbol) bool { return s.Name == "preempt" })
	must.NonNegative(t, i)
	must.Eq(t, preemptOffset, symbols[i].Value)
}

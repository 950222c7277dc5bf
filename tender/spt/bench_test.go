// SPDX-License-Identifier: MPL-2.0

//go:build linux && amd64

package spt

import (
	"os"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/tender"
)

// BenchmarkStart measures Start and Wait of a guest that exits immediately.
func BenchmarkStart(b *testing.B) {
	var code asm
	code.exit(0)
	kernel, info := buildKernel(b, code, []byte("constant"), []byte("variable"))
	console, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	must.NoError(b, err)
	defer console.Close()
	g := &tender.Guest{Kernel: kernel, Info: info, Memory: 512 << 20, Console: console}
	for b.Loop() {
		p, err := Start(g, tender.Jail{})
		must.NoError(b, err)
		exit, err := p.Wait()
		must.NoError(b, err)
		must.Eq(b, tender.Exit{}, exit)
	}
}

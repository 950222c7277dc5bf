// SPDX-License-Identifier: MPL-2.0

package lkl

import (
	"debug/elf"
	"os"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
)

// Each kernel has a note with its features, however it is linked. Solo5's tenders
// read only the first note of a segment, so each note needs its own PT_NOTE.
func TestNote_IsInEveryKernel(t *testing.T) {
	for name, options := range map[string][]string{
		"default":     nil,
		"manifest":    {"-manifest", "testdata/devices.json"},
		"hvt":         {"-target", "hvt"},
		"gc-sections": {"-Wl,--gc-sections", "-ffunction-sections", "-fdata-sections"},
		"stripped":    {"-s"},
	} {
		t.Run(name, func(t *testing.T) {
			f, err := os.Open(compileGuest(t, "echo.c", options...))
			must.NoError(t, err)
			defer f.Close()
			info, err := f.Stat()
			must.NoError(t, err)
			m, err := unikernel.Read(f, info.Size())
			must.NoError(t, err)
			must.Eq(t, unikernel.FlavorLKL, m.Flavor())
			must.Eq(t, unikernel.FeaturePreempt<<1-1, m.Features)

			e, err := elf.NewFile(f)
			must.NoError(t, err)
			var notes, sections []uint64
			for _, p := range e.Progs {
				if p.Type == elf.PT_NOTE {
					notes = append(notes, p.Off)
				}
			}
			for _, s := range e.Sections {
				if s.Type == elf.SHT_NOTE {
					sections = append(sections, s.Offset)
				}
			}
			must.Len(t, 3, notes)
			must.Eq(t, sections, notes)
		})
	}
}

// SPDX-License-Identifier: MPL-2.0

package lkl

import (
	"debug/elf"
	"os"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
)

// Every unikernel says what it understands, however it is linked, in a program
// header of its own: Solo5's tenders look at the first note of each.
func TestNote_IsInEveryUnikernel(t *testing.T) {
	for name, options := range map[string][]string{
		"as it is":              nil,
		"with other devices":    {"-manifest", "testdata/devices.json"},
		"for hvt":               {"-target", "hvt"},
		"without unused parts":  {"-Wl,--gc-sections", "-ffunction-sections", "-fdata-sections"},
		"stripped of its names": {"-s"},
	} {
		t.Run(name, func(t *testing.T) {
			f, err := os.Open(compiled(t, "echo.c", options...))
			must.NoError(t, err)
			defer f.Close()
			info, err := f.Stat()
			must.NoError(t, err)
			m, err := unikernel.Read(f, info.Size())
			must.NoError(t, err)
			must.Eq(t, unikernel.FlavorLKL, m.Flavor())
			must.Eq(t, unikernel.FeatureFSGSBase<<1-1, m.Features, must.Sprint("all that there are"))

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

// SPDX-License-Identifier: MPL-2.0

package unikernel

import (
	"encoding/binary"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/unikernel/solo5elf"
)

// featuresWords returns the note of an LKL guest with these words.
func featuresWords(words ...uint32) []byte {
	var content []byte
	for _, w := range words {
		content = binary.LittleEndian.AppendUint32(content, w)
	}
	return lklNote(featuresNote, content)
}

func lklNote(noteType uint32, descriptor []byte) []byte {
	return solo5elf.Note(featuresOwner, noteType, descriptor)
}

// withNote returns a kernel file with one more note.
func withNote(note []byte) *testFile {
	s := helloFile()
	s.Programs = append(s.Programs, solo5elf.NoteProgram(note))
	return s
}

func TestRead_ReadsFeatures(t *testing.T) {
	other := featuresWords(1)
	other[12] = 'N'
	cases := []struct {
		name string
		note []byte
		want Features
	}{
		{"some bits", featuresWords(0b1001), FeatureConfig | FeatureOffload},
		{"unknown bits", featuresWords(^uint32(FeaturePreempt)), ^FeaturePreempt},
		{"more words", featuresWords(0b10, 0xffffffff, 1), FeatureMemory},
		{"the maximum size", featuresWords(append([]uint32{0b100}, make([]uint32, 15)...)...), FeatureProgram},
		{"bytes after the note", append(featuresWords(1), 1, 2, 3), FeatureConfig},
		{"no bits", featuresWords(0), 0},
		{"another type", lklNote(featuresNote+1, []byte{1, 0, 0, 0}), 0},
		{"another type without a descriptor", lklNote(featuresNote+1, nil), 0},
		{"another owner", other, 0},
		{"an owner without the NUL", solo5elf.Note("nomad-driver-lkl", featuresNote, []byte{1, 0, 0, 0}), 0},
		{"an unknown type of Solo5's", solo5Note(featuresNote, []byte{1, 0, 0, 0}), 0},
		{"the second note of a program header", append(solo5elf.Note("GNU\x00", 7, nil), featuresWords(1)...), 0},
		{"a note too short for the owner's name", featuresWords(1)[:31], 0},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			m, err := read(withNote(c.note).bytes())
			must.NoError(t, err)
			must.Eq(t, c.want, m.Features)
		})
	}
	t.Run("no note", func(t *testing.T) {
		m, err := read(legacyFile().bytes())
		must.NoError(t, err)
		must.Eq(t, 0, m.Features)
	})
	t.Run("the first of two notes", func(t *testing.T) {
		s := withNote(featuresWords(1))
		s.Programs = append(s.Programs, solo5elf.NoteProgram(featuresWords(2)))
		m, err := read(s.bytes())
		must.NoError(t, err)
		must.Eq(t, FeatureConfig, m.Features)
	})
}

func TestRead_RefusesInvalidFeatures(t *testing.T) {
	const size = 4 // offset of the descriptor's size
	longer := featuresWords(1)
	longer[size] = 8
	huge := featuresWords(1)
	copy(huge[size:], "\xff\xff\xff\xff")
	cases := []struct {
		name string
		note []byte
		says string
	}{
		{"without a descriptor", lklNote(featuresNote, nil), "has 0 bytes for it, but it needs at least 4"},
		{"of 3 bytes", lklNote(featuresNote, make([]byte, 3)), "it needs at least 4"},
		{"of 3 bytes, with padding", append(lklNote(featuresNote, make([]byte, 3)), 0), "3 bytes, must be 4 to 4"},
		{"above the maximum size", featuresWords(make([]uint32, 17)...), "68 bytes, must be 4 to 64"},
		{"longer than its program header", longer, "8 bytes, must be 4 to 4"},
		{"of 4 GiB", huge, "4294967295 bytes, must be 4 to 4"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := read(withNote(c.note).bytes())
			must.ErrorIs(t, err, ErrInvalid)
			must.ErrorContains(t, err, "program header 8")
			must.ErrorContains(t, err, c.says)
		})
	}
	t.Run("beyond the file's end", func(t *testing.T) {
		s := withNote(featuresWords(1))
		s.missing = 1
		_, err := read(s.bytes())
		must.ErrorIs(t, err, ErrInvalid)
	})
}

func TestFeatures_HaveNames(t *testing.T) {
	must.Eq(t, []string{}, Features(0).Names())
	must.Eq(t, []string{"config", "flush", "bit 30", "bit 31"}, (FeatureConfig | FeatureFlush | 1<<30 | 1<<31).Names())
	must.Eq(t, "memory, fsgsbase", (FeatureMemory | FeatureFSGSBase).String())
	must.Len(t, 1, (FeaturePreempt << 1).Names())
	must.StrHasPrefix(t, "bit ", (FeaturePreempt << 1).String(), must.Sprint("featureNames lacks a feature"))
	must.True(t, (FeatureConfig | FeatureFlush).Has(FeatureFlush))
	must.False(t, FeatureConfig.Has(FeatureConfig|FeatureFlush))
}

func TestFeatures_LimitTheMTU(t *testing.T) {
	must.Eq(t, 1500, Features(0).MaxMTU())
	must.Eq(t, 1500, (FeatureConfig | FeatureOffload).MaxMTU())
	must.Eq(t, 65535, (FeatureConfig | FeatureNetwork).MaxMTU())
}

// docs/guest-reference.md has a row for each bit, in order.
func TestFeatures_AreDocumented(t *testing.T) {
	page, err := os.ReadFile("../docs/guest-reference.md")
	must.NoError(t, err)
	_, table, found := strings.Cut(string(page), "| bit | name | the guest understands |\n| --- | --- | --- |\n")
	must.True(t, found)
	table, _, _ = strings.Cut(table, "\n\n")
	rows := strings.Split(table, "\n")
	must.Len(t, len(featureNames), rows)
	for bit, name := range featureNames {
		must.StrHasPrefix(t, fmt.Sprintf("| %d | `%s` | ", bit, name), rows[bit])
	}
}

// SPDX-License-Identifier: MPL-2.0

package unikernel

import (
	"encoding/binary"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/shoenig/test/must"
)

// featuresNote is the note of an LKL guest with these words.
func featuresNote(words ...uint32) []byte {
	var content []byte
	for _, w := range words {
		content = binary.LittleEndian.AppendUint32(content, w)
	}
	return lklNote(noteLKL, content)
}

func lklNote(kind uint32, content []byte) []byte {
	return note(17, kind, "nomad-driver-lkl\x00\x00\x00\x00", content)
}

// withNote is a kernel with one more note.
func withNote(content []byte) elfSpec {
	s := helloSpec()
	s.headers = append(s.headers, headerSpec{kind: programNote, flags: flagRead, content: content})
	return s
}

func TestRead_TellsWhatAGuestUnderstands(t *testing.T) {
	other := featuresNote(1)
	other[12] = 'N'
	cases := []struct {
		name string
		note []byte
		want Features
	}{
		{"a note", featuresNote(0b1001), FeatureConfig | FeatureOffload},
		{"all bits, of a later guest too", featuresNote(0xffffffff), 0xffffffff},
		{"further words, of a later guest", featuresNote(0b10, 0xffffffff, 1), FeatureMemory},
		{"as many as there may be", featuresNote(append([]uint32{0b100}, make([]uint32, 15)...)...), FeatureProgram},
		{"bytes after it", append(featuresNote(1), 1, 2, 3), FeatureConfig},
		{"nothing understood", featuresNote(0), 0},
		{"another type", lklNote(noteLKL+1, []byte{1, 0, 0, 0}), 0},
		{"another type, short", lklNote(noteLKL+1, nil), 0},
		{"another owner", other, 0},
		{"an owner whose name is cut off", note(16, noteLKL, "nomad-driver-lkl", []byte{1, 0, 0, 0}), 0},
		{"a type of Solo5's that is not known", solo5Note(noteLKL, []byte{1, 0, 0, 0}), 0},
		{"a second note of one program header", append(note(4, 7, "GNU\x00", nil), featuresNote(1)...), 0},
		{"too short for the owner's name", featuresNote(1)[:31], 0},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			m, err := read(withNote(c.note).build())
			must.NoError(t, err)
			must.Eq(t, c.want, m.Features)
		})
	}
	t.Run("none", func(t *testing.T) {
		m, err := read(lklSpec().build())
		must.NoError(t, err)
		must.Eq(t, 0, m.Features)
	})
	t.Run("two, the first wins", func(t *testing.T) {
		s := withNote(featuresNote(1))
		s.headers = append(s.headers, headerSpec{kind: programNote, content: featuresNote(2)})
		m, err := read(s.build())
		must.NoError(t, err)
		must.Eq(t, FeatureConfig, m.Features)
	})
}

func TestRead_RefusesABrokenNoteOfFeatures(t *testing.T) {
	const size = 4 // where the descriptor's size is
	longer := featuresNote(1)
	longer[size] = 8
	huge := featuresNote(1)
	copy(huge[size:], "\xff\xff\xff\xff")
	cases := []struct {
		name string
		note []byte
		says string
	}{
		{"without content", lklNote(noteLKL, nil), "room for 0 bytes, it has at least 4"},
		{"of half a word", lklNote(noteLKL, make([]byte, 3)), "it has at least 4"},
		{"of half a word, with room", append(lklNote(noteLKL, make([]byte, 3)), 0), "3 bytes, where 4 to 4"},
		{"longer than any", featuresNote(make([]uint32, 17)...), "68 bytes, where 4 to 64"},
		{"longer than its program header", longer, "8 bytes, where 4 to 4"},
		{"of 4 GiB", huge, "4294967295 bytes, where 4 to 4"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := read(withNote(c.note).build())
			must.ErrorIs(t, err, ErrInvalid)
			must.ErrorContains(t, err, "program header 8")
			must.ErrorContains(t, err, c.says)
		})
	}
	t.Run("beyond the file's end", func(t *testing.T) {
		s := withNote(featuresNote(1))
		s.missing = 1
		_, err := read(s.build())
		must.ErrorIs(t, err, ErrInvalid)
	})
}

func TestFeatures_AreNamed(t *testing.T) {
	must.Eq(t, []string{}, Features(0).Names())
	must.Eq(t, []string{"config", "flush", "bit 7", "bit 31"}, (FeatureConfig | FeatureFlush | 1<<7 | 1<<31).Names())
	must.Eq(t, "memory, fsgsbase", (FeatureMemory | FeatureFSGSBase).String())
	must.Len(t, 1, (FeatureFSGSBase << 1).Names())
	must.StrHasPrefix(t, "bit ", (FeatureFSGSBase << 1).String(), must.Sprint("the last has a name"))
	must.True(t, (FeatureConfig | FeatureFlush).Has(FeatureFlush))
	must.False(t, FeatureConfig.Has(FeatureConfig|FeatureFlush))
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

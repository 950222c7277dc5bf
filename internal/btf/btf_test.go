// SPDX-License-Identifier: MPL-2.0

package btf

import (
	"encoding/binary"
	"slices"
	"testing"

	"github.com/shoenig/test/must"
)

// file returns a BTF file with the given types and strings.
func file(types []uint32, text string) []byte {
	var body []byte
	for _, word := range types {
		body = binary.LittleEndian.AppendUint32(body, word)
	}
	header := []byte{0x9f, 0xeb, 1, 0}
	for _, word := range []int{headerSize, 0, len(body), len(body), len(text)} {
		header = binary.LittleEndian.AppendUint32(header, uint32(word))
	}
	return slices.Concat(header, body, []byte(text))
}

// example has an integer, a structure outer with an unnamed union, and the union.
func example() []byte {
	const names = "\x00int\x00outer\x00first\x00flag\x00inner\x00"
	const integer, outer, first, flag, inner = 1, 5, 11, 17, 22
	return file([]uint32{
		integer, 1 << 24, 4, 32, // type 1
		outer, 1<<31 | 4<<24 | 3, 12, first, 1, 0, flag, 1, 2<<24 | 37, 0, 3, 64, // type 2
		0, 5<<24 | 1, 4, inner, 1, 0, // type 3
	}, names)
}

func TestBitOffset_FindsFields(t *testing.T) {
	types, err := parse(example())
	must.NoError(t, err)
	for name, want := range map[string]uint32{"first": 0, "flag": 37, "inner": 64} {
		offset, err := types.BitOffset("outer", name)
		must.NoError(t, err)
		must.Eq(t, want, offset)
	}
	_, err = types.BitOffset("outer", "missing")
	must.ErrorContains(t, err, "no field missing")
	_, err = types.BitOffset("int", "first")
	must.ErrorContains(t, err, "structure int")
}

func TestParse_RefusesOtherFiles(t *testing.T) {
	for end := range len(example()) {
		_, err := parse(example()[:end])
		must.ErrorIs(t, err, ErrFormat)
	}
	unknown := example()
	unknown[headerSize+7] = lastKind + 1
	_, err := parse(unknown)
	must.ErrorContains(t, err, "unknown kind 20")
}

// FuzzParse looks for files that make the reader panic.
func FuzzParse(f *testing.F) {
	f.Add(example())
	f.Fuzz(func(_ *testing.T, data []byte) {
		if types, err := parse(data); err == nil {
			_, _ = types.BitOffset("outer", "inner")
		}
	})
}

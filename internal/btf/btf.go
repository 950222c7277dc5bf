// SPDX-License-Identifier: MPL-2.0

// Package btf finds the fields of the running kernel's structures. The kernel describes
// its types in BTF (Documentation/bpf/btf.rst).
package btf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
)

// Kernel is the file with the types of the running kernel. It exists if the kernel has
// CONFIG_DEBUG_INFO_BTF.
const Kernel = "/sys/kernel/btf/vmlinux"

// ErrFormat means that a file is not valid BTF.
var ErrFormat = errors.New("the type information is not valid")

const (
	headerSize = 24
	typeSize   = 12 // without the data after it
	memberSize = 12
	kindStruct = 4
	kindUnion  = 5
	lastKind   = 19
)

// tails has the size of the data after a type of each kind: a fixed part, and a part for
// each element.
var tails = [lastKind + 1]struct{ fixed, each int }{
	1: {fixed: 4}, 3: {fixed: 12}, kindStruct: {each: memberSize}, kindUnion: {each: memberSize},
	6: {each: 8}, 13: {each: 8}, 14: {fixed: 4}, 15: {each: 12}, 17: {fixed: 4}, 19: {each: 12},
}

// Types are the structures of a BTF file.
type Types struct {
	types, strings []byte
	structs        map[uint32]int // offsets in types of structs and unions, by the number of the type
}

// Read reads the types of a file, such as Kernel.
func Read(path string) (*Types, error) {
	file, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	types, err := parse(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return types, nil
}

func parse(file []byte) (*Types, error) {
	const magic = 0xeb9f
	if len(file) < headerSize || binary.LittleEndian.Uint16(file) != magic {
		return nil, ErrFormat
	}
	field := func(at int) int { return int(binary.LittleEndian.Uint32(file[at:])) }
	header := field(4)
	typeStart, stringStart := header+field(8), header+field(16)
	typeEnd, stringEnd := typeStart+field(12), stringStart+field(20)
	if max(typeEnd, stringEnd) > len(file) {
		return nil, ErrFormat
	}
	t := &Types{types: file[typeStart:typeEnd], strings: file[stringStart:stringEnd], structs: map[uint32]int{}}
	number := uint32(1) // 0 is void
	for at := 0; at < len(t.types); number++ {
		if at+typeSize > len(t.types) {
			return nil, ErrFormat
		}
		kind, count := t.kind(at)
		if kind > lastKind {
			return nil, fmt.Errorf("%w: unknown kind %d of a type", ErrFormat, kind)
		}
		if kind == kindStruct || kind == kindUnion {
			t.structs[number] = at
		}
		at += typeSize + tails[kind].fixed + count*tails[kind].each
		if at > len(t.types) {
			return nil, ErrFormat
		}
	}
	return t, nil
}

// BitOffset returns the offset of a field from the start of a structure, in bits.
func (t *Types) BitOffset(structure, field string) (uint32, error) {
	for _, at := range t.structs {
		if t.name(at) != structure {
			continue
		}
		if offset, ok := t.member(at, field, maxDepth); ok {
			return offset, nil
		}
	}
	return 0, fmt.Errorf("no field %s in a structure %s", field, structure)
}

// kind returns the kind of the type at an offset, and the number of its elements.
func (t *Types) kind(at int) (kind, count int) {
	info := t.word(at + 4)
	return int(info >> 24 & 0x1f), int(info & 0xffff)
}

func (t *Types) word(at int) uint32 { return binary.LittleEndian.Uint32(t.types[at:]) }

// name returns the name of the type or of the member at an offset.
func (t *Types) name(at int) string {
	start := int(t.word(at))
	if start >= len(t.strings) {
		return ""
	}
	text, _, _ := bytes.Cut(t.strings[start:], []byte{0})
	return string(text)
}

// maxDepth limits the nesting of structures without a name.
const maxDepth = 16

// member returns the offset in bits of a member of the struct or union at an offset. It
// searches members without a name, too, up to a depth.
func (t *Types) member(at int, name string, depth int) (uint32, bool) {
	bitFields := t.word(at+4)>>31 != 0
	_, count := t.kind(at)
	for i := range count {
		m := at + typeSize + i*memberSize
		offset := t.word(m + 8)
		if bitFields {
			offset &= 1<<24 - 1 // the upper bits are the size of the bit field
		}
		switch t.name(m) {
		case name:
			return offset, true
		case "":
			if inner, ok := t.structs[t.word(m+4)]; ok && depth > 0 {
				if more, ok := t.member(inner, name, depth-1); ok {
					return offset + more, true
				}
			}
		}
	}
	return 0, false
}

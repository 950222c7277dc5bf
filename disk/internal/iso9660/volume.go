// SPDX-License-Identifier: MPL-2.0

package iso9660

import (
	"encoding/binary"
	"strings"
)

// pathTableOf returns the path table in a byte order. Its size is the same in both.
func (l *layout) pathTableOf(order binary.AppendByteOrder) []byte {
	var b []byte
	for i, dir := range l.dirs {
		id := "\x00"
		if i > 0 {
			id = dir.id
		}
		b = append(b, byte(len(id)), 0)
		b = order.AppendUint32(b, uint32(dir.data.first))
		b = order.AppendUint16(b, uint16(dir.parent.pathNum))
		b = append(b, id...)
		if len(id)%2 != 0 {
			b = append(b, 0)
		}
	}
	return b
}

// text returns a field of the volume descriptor, padded by blanks.
func text(s string, size int) []byte { return []byte(s + strings.Repeat(" ", size-len(s))) }

// volume returns the primary volume descriptor: ECMA-119, 8.4.
func (l *layout) volume() []byte {
	root := l.dirs[0]
	b := []byte("\x01CD001\x01\x00")
	b = append(b, text("", 32)...) // system
	b = append(b, text("ROOTFS", 32)...)
	b = append(b, make([]byte, 8)...)
	b = both32(b, uint32(l.sectors))
	b = append(b, make([]byte, 32)...)
	b = both16(b, 1) // volumes
	b = both16(b, 1) // number of the volume
	b = both16(b, SectorSize)
	b = both32(b, uint32(l.pathSize))
	b = binary.LittleEndian.AppendUint32(b, uint32(l.pathTable[0]))
	b = binary.LittleEndian.AppendUint32(b, 0)
	b = binary.BigEndian.AppendUint32(b, uint32(l.pathTable[1]))
	b = binary.BigEndian.AppendUint32(b, 0)
	b = append(b, l.record("\x00", root.data, root.ModTime, flagDirectory, nil)...)
	const identifiers = 4*128 + 3*37 // of the volume set, publisher and others
	b = append(b, text("", identifiers)...)
	created := []byte(l.when.UTC().Format("20060102150405") + "00\x00")
	never := []byte(strings.Repeat("0", 16) + "\x00")
	for _, date := range [][]byte{created, created, never, never} {
		b = append(b, date...)
	}
	return padded(append(b, 1, 0))
}

// terminator returns the last volume descriptor.
func terminator() []byte { return padded([]byte("\xffCD001\x01")) }

// SPDX-License-Identifier: MPL-2.0

package iso9660

import (
	"encoding/binary"
	"strings"
	"time"
)

// Flags of directory records.
const (
	flagDirectory = 0x02
	flagMore      = 0x80 // the next record continues the file
)

// both16 and both32 append a number in both byte orders.
func both16(b []byte, n uint16) []byte {
	return binary.BigEndian.AppendUint16(binary.LittleEndian.AppendUint16(b, n), n)
}

func both32(b []byte, n uint32) []byte {
	return binary.BigEndian.AppendUint32(binary.LittleEndian.AppendUint32(b, n), n)
}

// shortTime encodes a time in UTC for directory records and Rock Ridge.
func shortTime(t time.Time) []byte {
	t = t.UTC()
	year := min(max(t.Year(), 1900), 2155)
	return []byte{byte(year - 1900), byte(t.Month()), byte(t.Day()), byte(t.Hour()), byte(t.Minute()), byte(t.Second()), 0}
}

// directory returns the content of a directory.
func (l *layout) directory(dir *Entry) []byte {
	var b []byte
	add := func(record []byte) {
		if SectorSize-len(b)%SectorSize < len(record) {
			b = padded(b) // a record does not cross a sector
		}
		b = append(b, record...)
	}
	self := attributes(dir)
	if dir.parent == dir {
		self = append([][]byte{{'S', 'P', 7, 1, 0xbe, 0xef, 0}}, self...)
		self = append(self, extensionReference())
	}
	add(l.record("\x00", dir.data, dir.ModTime, flagDirectory, self))
	add(l.record("\x01", dir.parent.data, dir.parent.ModTime, flagDirectory, attributes(dir.parent)))
	for _, child := range dir.Children {
		system := append(attributes(child), names(child.Name)...)
		if child.Dir {
			add(l.record(child.id, child.data, child.ModTime, flagDirectory, system))
			continue
		}
		// A file of more than 4 GiB has several records.
		first, rest := child.data.first, uint64(child.Size)
		for flags := byte(flagMore); flags == flagMore; {
			if rest <= maxExtent {
				flags = 0
			}
			part := extent{first, min(rest, maxExtent)}
			add(l.record(child.id+".;1", part, child.ModTime, flags, system))
			first, rest = first+part.length/SectorSize, rest-part.length
		}
	}
	return padded(b)
}

// An extent is a range of sectors, with its length in bytes.
type extent struct{ first, length uint64 }

// record returns a directory record. Entries of the system use area that do not fit go to the
// continuation areas.
func (l *layout) record(id string, at extent, when time.Time, flags byte, system [][]byte) []byte {
	b := []byte{0, 0} // the length follows
	b = both32(b, uint32(at.first))
	b = both32(b, uint32(at.length))
	b = append(b, shortTime(when)...)
	b = append(b, flags, 0, 0)
	b = both16(b, 1)
	b = append(append(b, byte(len(id))), id...)
	if len(b)%2 != 0 {
		b = append(b, 0)
	}
	b = l.systemUse(b, system, maxRecord)
	if len(b)%2 != 0 {
		b = append(b, 0)
	}
	b[0] = byte(len(b))
	return b
}

// systemUse appends entries to b as far as they fit into limit bytes, and the others to a
// continuation area.
func (l *layout) systemUse(b []byte, system [][]byte, limit int) []byte {
	fits, size := 0, len(b)
	total := size
	for _, entry := range system {
		total += len(entry)
	}
	if total <= limit {
		fits = len(system)
	} else {
		limit -= continuation
		for fits < len(system) && size+len(system[fits]) <= limit {
			size += len(system[fits])
			fits++
		}
	}
	for _, entry := range system[:fits] {
		b = append(b, entry...)
	}
	if fits == len(system) {
		return b
	}
	block, offset, length := l.continueIn(system[fits:])
	b = append(b, 'C', 'E', continuation, 1)
	b = both32(b, block)
	b = both32(b, offset)
	return both32(b, length)
}

// continueIn writes entries to a continuation area, and returns its place.
func (l *layout) continueIn(system [][]byte) (block, offset, length uint32) {
	size := 0
	for _, entry := range system {
		size += len(entry)
	}
	if l.pool.room() < min(size, SectorSize) {
		l.pool.nextSector()
	}
	at := len(l.pool.data)
	area := l.reserve(min(size, SectorSize))
	content := l.systemUse(nil, system, area) // may extend the pool
	copy(l.pool.data[at:], content)
	return uint32(l.pool.start) + uint32(at/SectorSize), uint32(at % SectorSize), uint32(len(content))
}

// reserve adds zeros to the pool, which end the entries of an area early.
func (l *layout) reserve(n int) int {
	l.pool.data = append(l.pool.data, make([]byte, n)...)
	return n
}

// attributes returns the entries PX, TF, PN and SL.
func attributes(e *Entry) [][]byte {
	px := both32([]byte{'P', 'X', 36, 1}, e.Mode)
	px = both32(px, max(e.Links, 1))
	px = both32(px, e.UID)
	px = both32(px, e.GID)
	const modified = 2
	tf := append([]byte{'T', 'F', 12, 1, modified}, shortTime(e.ModTime)...)
	entries := [][]byte{px, tf}
	if e.Major != 0 || e.Minor != 0 {
		entries = append(entries, both32(both32([]byte{'P', 'N', 20, 1}, e.Major), e.Minor))
	}
	if e.Target != "" {
		entries = append(entries, links(e.Target)...)
	}
	return entries
}

// maxPart limits the bytes of a name or target in one entry.
const maxPart = 100

// maxEntry limits the bytes of an entry SL, so that a link of usual length fits into its record.
const maxEntry = 128

// Offsets in an entry SL.
const (
	entryLength = 2
	slFlags     = 4
)

const partContinues = 1 // flag of NM, SL and a component of SL

// names returns the entries NM of a name.
func names(name string) [][]byte {
	var entries [][]byte
	for {
		part, flags := name, byte(0)
		if len(part) > maxPart {
			part, flags = part[:maxPart], partContinues
		}
		name = name[len(part):]
		entries = append(entries, append([]byte{'N', 'M', byte(5 + len(part)), 1, flags}, part...))
		if name == "" {
			return entries
		}
	}
}

// Flags of the components of SL.
const (
	componentCurrent = 2
	componentParent  = 4
	componentRoot    = 8
)

// links returns the entries SL of a symbolic link.
func links(target string) [][]byte {
	var entries [][]byte
	var entry []byte
	add := func(flags byte, text string) {
		if entry != nil && len(entry)+2+len(text) > maxEntry {
			entry[slFlags] |= partContinues
			entry = nil
		}
		if entry == nil {
			entry = append(make([]byte, 0, maxEntry), 'S', 'L', 0, 1, 0)
			entries = append(entries, nil)
		}
		entry = append(append(entry, flags, byte(len(text))), text...)
		entry[entryLength] = byte(len(entry))
		entries[len(entries)-1] = entry
	}
	if strings.HasPrefix(target, "/") {
		add(componentRoot, "")
	}
	for name := range strings.SplitSeq(target, "/") {
		switch name {
		case "":
		case ".":
			add(componentCurrent, "")
		case "..":
			add(componentParent, "")
		default:
			for ; len(name) > maxPart; name = name[maxPart:] {
				add(partContinues, name[:maxPart])
			}
			add(0, name)
		}
	}
	return entries
}

// extensionReference returns the entry ER, which declares Rock Ridge.
func extensionReference() []byte {
	const (
		id          = "RRIP_1991A"
		description = "THE ROCK RIDGE INTERCHANGE PROTOCOL PROVIDES SUPPORT FOR POSIX FILE SYSTEM SEMANTICS"
		source      = "PLEASE CONTACT DISC PUBLISHER FOR SPECIFICATION SOURCE.  SEE PUBLISHER IDENTIFIER IN PRIMARY VOLUME DESCRIPTOR FOR CONTACT INFORMATION."
	)
	text := id + description + source
	return append([]byte{'E', 'R', byte(8 + len(text)), 1, byte(len(id)), byte(len(description)), byte(len(source)), 1}, text...)
}

// SPDX-License-Identifier: MPL-2.0

// Package iso9660 lays out an ISO 9660 file system with Rock Ridge (ECMA-119, SUSP 1.10, RRIP
// 1.10): names, symbolic links, devices, owners, permissions and modification times of Unix.
// Linux and libisofs read it. Other systems see names such as 00000001.
package iso9660

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// SectorSize is the size of a block in bytes.
const SectorSize = 2048

const (
	systemArea    = 16 // sectors before the volume descriptors
	firstPathList = systemArea + 2
	maxRecord     = 254 // bytes of a directory record, which is even
	continuation  = 28  // bytes of the entry CE
	maxExtent     = 1<<32 - SectorSize
	maxSectors    = 1<<32 - 1
	maxPathNumber = 1<<16 - 1 // of a parent directory in a path table
)

// ErrTooLarge means that the format cannot describe the content.
var ErrTooLarge = errors.New("too large for ISO 9660")

// An Entry is a file of the file system.
type Entry struct {
	Name         string
	Mode         uint32 // st_mode
	Links        uint32
	UID, GID     uint32
	ModTime      time.Time
	Target       string // of a symbolic link
	Major, Minor uint32 // of a device
	Size         int64  // of a regular file, in bytes
	// Content identifies the content of a regular file. Entries with the same content share
	// its sectors.
	Content any
	// Children are the entries of a directory.
	Children []*Entry
	Dir      bool

	parent  *Entry
	id      string // name without Rock Ridge
	data    extent // of a directory; only its first sector for a regular file
	pathNum int
}

// An Image is a file system without the contents of its regular files.
type Image struct {
	// Header is the beginning of the image.
	Header []byte
	// Sectors is the size of the image.
	Sectors int64
	extents map[any]uint64
}

// Offset returns the offset in bytes of a content in the image.
func (i *Image) Offset(content any) int64 { return int64(i.extents[content]) * SectorSize }

// Layout computes the image of a root directory. The volume has this time.
func Layout(root *Entry, when time.Time) (*Image, error) {
	l := &layout{when: when}
	root.parent = root
	l.collect(root)
	if len(l.dirs) > maxPathNumber {
		return nil, ErrTooLarge
	}
	// The sizes do not depend on the sectors, so one pass finds the sizes and then the
	// sectors of everything, and a second one writes them.
	l.render()
	l.place()
	l.render()
	if l.sectors > maxSectors {
		return nil, ErrTooLarge
	}
	return &Image{Header: l.header(), Sectors: int64(l.sectors), extents: l.extents}, nil
}

type layout struct {
	when     time.Time
	dirs     []*Entry // breadth first: the order of a path table
	rendered [][]byte // by directory
	pool     pool     // continuation areas
	extents  map[any]uint64

	pathTable [2]uint64 // sectors, little and big endian
	pathSize  int       // bytes
	poolStart uint64
	sectors   uint64
}

// collect lists the directories.
func (l *layout) collect(root *Entry) {
	l.dirs = []*Entry{root}
	for i := 0; i < len(l.dirs); i++ {
		dir := l.dirs[i]
		dir.pathNum = i + 1
		for i, child := range dir.Children {
			child.parent, child.id = dir, fmt.Sprintf("%08d", i+1)
			if child.Dir {
				l.dirs = append(l.dirs, child)
			}
		}
	}
}

// render writes all directories and continuation areas.
func (l *layout) render() {
	l.pool = pool{start: l.poolStart, data: l.pool.data[:0]}
	l.rendered = nil
	for _, dir := range l.dirs {
		content := l.directory(dir)
		dir.data.length = uint64(len(content))
		l.rendered = append(l.rendered, content)
	}
}

// place assigns sectors.
func (l *layout) place() {
	l.pathSize = len(l.pathTableOf(binary.LittleEndian))
	next := uint64(firstPathList)
	take := func(bytes uint64) uint64 {
		at := next
		next += (bytes + SectorSize - 1) / SectorSize
		return at
	}
	for i := range l.pathTable {
		l.pathTable[i] = take(uint64(l.pathSize))
	}
	for _, dir := range l.dirs {
		dir.data.first = take(dir.data.length)
	}
	l.poolStart = take(uint64(len(l.pool.data)))
	l.extents = map[any]uint64{}
	for _, dir := range l.dirs {
		for _, child := range dir.Children {
			if child.Content == nil || child.Size == 0 {
				continue
			}
			if _, known := l.extents[child.Content]; !known {
				l.extents[child.Content] = take(uint64(child.Size))
			}
			child.data.first = l.extents[child.Content]
		}
	}
	l.sectors = next
}

// header returns everything before the contents.
func (l *layout) header() []byte {
	b := make([]byte, systemArea*SectorSize, l.poolStart*SectorSize+uint64(len(l.pool.data))+SectorSize)
	b = append(b, l.volume()...)
	b = append(b, terminator()...)
	b = append(b, padded(l.pathTableOf(binary.LittleEndian))...)
	b = append(b, padded(l.pathTableOf(binary.BigEndian))...)
	for _, content := range l.rendered {
		b = append(b, content...)
	}
	return append(b, padded(l.pool.data)...)
}

// padded fills up the last sector.
func padded(b []byte) []byte {
	return append(b, make([]byte, (SectorSize-len(b)%SectorSize)%SectorSize)...)
}

// A pool contains continuation areas, none of which crosses a sector.
type pool struct {
	start uint64 // sector
	data  []byte
}

// room returns the free bytes of the last sector.
func (p *pool) room() int { return SectorSize - len(p.data)%SectorSize }

func (p *pool) nextSector() { p.data = padded(p.data) }

// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
)

// inode is what debugfs shows of one, as far as it matters here.
type inode struct {
	mode uint16 // type and permissions as the kernel has them (S_IFREG …)
	size int64
}

// Types of an inode: the kernel's S_IFMT and what it selects.
const (
	typeMask    = 0o170000
	typeDir     = 0o040000
	typeRegular = 0o100000
	typeSymlink = 0o120000
)

func (i inode) is(kind uint16) bool { return i.mode&typeMask == kind }

// What debugfs says of a path that leads nowhere (lib/ext2fs/ext2_err.et).
const (
	saysNoFile = "File not found by ext2_lookup"
	saysNoDir  = "Ext2 inode is not a directory"
)

// look finds the inode of a path; a symlink at its end is itself found. Nothing
// there is fs.ErrNotExist. The raw bytes of the inode are asked for because, of
// all that debugfs can print, no text of theirs comes out of the image.
func (s *session) look(path string) (inode, error) {
	lines, err := s.ask("inode_dump", path)
	if err != nil {
		return inode{}, err
	}
	if len(lines) == 1 && strings.Contains(lines[0], saysNoFile) {
		return inode{}, fmt.Errorf("%s in the image: %w", path, fs.ErrNotExist)
	}
	if len(lines) == 1 && strings.Contains(lines[0], saysNoDir) {
		return inode{}, fmt.Errorf("%s in the image: %w", path, errNotDirectory)
	}
	raw, err := parseHexdump(lines)
	if err != nil || len(raw) < 128 {
		return inode{}, fmt.Errorf("%w: look at %s: debugfs: %s", ErrDamaged, path, strings.Join(lines, "; "))
	}
	size := uint64(binary.LittleEndian.Uint32(raw[4:])) | uint64(binary.LittleEndian.Uint32(raw[108:]))<<32
	return inode{mode: binary.LittleEndian.Uint16(raw), size: int64(size)}, nil
}

var errNotDirectory = errors.New("not a directory")

// parseHexdump reads debugfs's dump: an octal offset, two blanks, and 16 bytes in
// pairs; a line of "*" stands for repetitions of the one before.
func parseHexdump(lines []string) ([]byte, error) {
	var raw []byte
	for _, line := range lines {
		if line == "*" || line == "" {
			continue
		}
		offset, rest, ok := strings.Cut(line, "  ")
		at, err := strconv.ParseUint(offset, 8, 16)
		if !ok || err != nil || at%16 != 0 || int(at) < len(raw) || len(rest) < 40 {
			return nil, fmt.Errorf("not a line of a dump: %q", line)
		}
		for len(raw) < int(at) {
			if len(raw) < 16 {
				return nil, errors.New("dump begins late")
			}
			raw = append(raw, raw[len(raw)-16:]...)
		}
		row, err := hex.DecodeString(strings.ReplaceAll(rest[:40], " ", ""))
		if err != nil || len(row) != 16 {
			return nil, fmt.Errorf("not a line of a dump: %q", line)
		}
		raw = append(raw, row...)
	}
	return raw, nil
}

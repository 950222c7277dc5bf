// SPDX-License-Identifier: MPL-2.0

package debugfs

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrNotDirectory means that a path leads through a file that is not a directory.
var ErrNotDirectory = errors.New("not a directory")

// Messages of debugfs for a path that does not exist (lib/ext2fs/ext2_err.et).
const (
	messageNotFound     = "File not found by ext2_lookup"
	messageNotDirectory = "Ext2 inode is not a directory"
)

// minInodeSize is the size of the oldest inode format, in bytes.
const minInodeSize = 128

// FileType returns the type of the file at a path, such as unix.S_IFREG. It does not follow
// a symlink at the end of the path. Errors: fs.ErrNotExist, ErrNotDirectory, ErrDamaged.
//
// It parses the raw bytes of the inode. The other commands of debugfs print text from the
// image, such as file names, which could imitate their format.
func (s *Session) FileType(path string) (uint16, error) {
	lines, err := s.Query("inode_dump", path)
	if err != nil {
		return 0, err
	}
	if len(lines) == 1 && strings.Contains(lines[0], messageNotFound) {
		return 0, fmt.Errorf("%s in the image: %w", path, fs.ErrNotExist)
	}
	if len(lines) == 1 && strings.Contains(lines[0], messageNotDirectory) {
		return 0, fmt.Errorf("%s in the image: %w", path, ErrNotDirectory)
	}
	raw, err := parseHexdump(lines)
	if err != nil || len(raw) < minInodeSize {
		return 0, fmt.Errorf("%w: read the inode of %s: debugfs: %s", ErrDamaged, path, strings.Join(lines, "; "))
	}
	return binary.LittleEndian.Uint16(raw) & unix.S_IFMT, nil
}

// parseHexdump parses the dump of inode_dump. A line consists of an octal offset, two
// blanks, and 16 bytes in pairs. A line "*" stands for repetitions of the line before.
func parseHexdump(lines []string) ([]byte, error) {
	const row = 16
	var raw []byte
	for _, line := range lines {
		if line == "*" || line == "" {
			continue
		}
		offset, rest, ok := strings.Cut(line, "  ")
		at, err := strconv.ParseUint(offset, 8, 16)
		if !ok || err != nil || at%row != 0 || int(at) < len(raw) || len(rest) < 40 {
			return nil, fmt.Errorf("invalid line of a hex dump: %q", line)
		}
		for len(raw) < int(at) {
			if len(raw) < row {
				return nil, errors.New("the hex dump does not begin at offset 0")
			}
			raw = append(raw, raw[len(raw)-row:]...)
		}
		data, err := hex.DecodeString(strings.ReplaceAll(rest[:40], " ", ""))
		if err != nil || len(data) != row {
			return nil, fmt.Errorf("invalid line of a hex dump: %q", line)
		}
		raw = append(raw, data...)
	}
	return raw, nil
}

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

// ErrNotDirectory means that a path names a file that is not a directory, or leads through
// one.
var ErrNotDirectory = errors.New("not a directory")

// ErrIsDirectory means that a path names a directory.
var ErrIsDirectory = errors.New("is a directory")

// messages are those of debugfs about paths (lib/ext2fs/ext2_err.et, debugfs/debugfs.c).
var messages = []struct {
	text string
	err  error
}{
	{"File not found by ext2_lookup", fs.ErrNotExist},
	{"Ext2 inode is not a directory", ErrNotDirectory},
	{"rm: file is a directory", ErrIsDirectory},
}

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
	if err := pathError(path, lines); err != nil {
		return 0, err
	}
	raw, err := parseHexdump(lines)
	if err != nil || len(raw) < minInodeSize {
		return 0, fmt.Errorf("%w: read the inode of %s: debugfs: %s", ErrDamaged, path, strings.Join(lines, "; "))
	}
	return binary.LittleEndian.Uint16(raw) & unix.S_IFMT, nil
}

// CheckDirectory checks that a path names a directory. It follows no symlink at the end of
// the path. It is much faster than FileType, for which debugfs makes a system call for each
// byte of the inode. Errors: fs.ErrNotExist, ErrNotDirectory, ErrDamaged.
func (s *Session) CheckDirectory(path string) error { return s.query("cd", path) }

// Remove removes a file or symlink. The path must have the form "DIR/./NAME", because debugfs
// does not find the parent otherwise. Errors: fs.ErrNotExist, ErrNotDirectory,
// ErrIsDirectory, ErrDamaged.
func (s *Session) Remove(path string) error { return s.query("rm", path) }

// query runs a command that prints only errors, about its path.
func (s *Session) query(verb, path string) error {
	lines, err := s.Query(verb, path)
	if err != nil {
		return err
	}
	if err := pathError(path, lines); err != nil {
		return err
	}
	if message := strings.Join(lines, "; "); message != "" { // rm prints an empty line
		return fmt.Errorf("%w: debugfs: %s %s: %s", ErrDamaged, verb, path, message)
	}
	return nil
}

// pathError returns the error that a command printed about its path, or nil.
func pathError(path string, lines []string) error {
	if len(lines) != 1 {
		return nil
	}
	for _, m := range messages {
		if strings.Contains(lines[0], m.text) {
			return fmt.Errorf("%s in the image: %w", path, m.err)
		}
	}
	return nil
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

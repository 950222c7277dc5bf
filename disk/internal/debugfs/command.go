// SPDX-License-Identifier: MPL-2.0

package debugfs

import (
	"errors"
	"fmt"
	"strings"
)

// ErrName means that a path or a symlink target cannot be passed to debugfs.
var ErrName = errors.New("name cannot be put into an image")

// maxCommandLen is the longest command that debugfs reads as a whole, in bytes. Its buffer
// has 8192 bytes (BUFSIZ of glibc), which includes the newline and a NUL. debugfs would run
// the rest of a longer line as another command.
const maxCommandLen = 8190

// Command returns a command line for debugfs in which every argument is quoted. In quotes,
// a byte stands for itself, and a quote is doubled (lib/ss/parse.c of e2fsprogs). Line
// breaks and NUL cannot be quoted: ErrName.
func Command(verb string, args ...string) (string, error) {
	line := strings.Builder{}
	line.WriteString(verb)
	for _, arg := range args {
		if i := strings.IndexAny(arg, "\n\r\x00"); i >= 0 {
			return "", fmt.Errorf("%q contains %q: %w", arg, arg[i], ErrName)
		}
		line.WriteString(` "`)
		line.WriteString(strings.ReplaceAll(arg, `"`, `""`))
		line.WriteByte('"')
	}
	if line.Len() > maxCommandLen {
		return "", fmt.Errorf("%.40q… takes %d bytes in a debugfs command, more than %d: %w",
			args[0], line.Len(), maxCommandLen, ErrName)
	}
	return line.String(), nil
}

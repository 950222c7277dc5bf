// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"fmt"
	"strings"
)

// The longest line that debugfs reads whole from its command file: its buffer is
// glibc's BUFSIZ of 8192 with the newline and a NUL. The rest of a longer line
// would run as a command of its own.
const longestCommand = 8190

// command makes a line for debugfs. Every word but the verb is quoted as its
// parser (lib/ss/parse.c of e2fsprogs) takes it: all bytes stand for themselves
// between quotes, and a quote is written twice. What ends a line ends the words
// too and cannot be quoted.
func command(verb string, words ...string) (string, error) {
	line := strings.Builder{}
	line.WriteString(verb)
	for _, word := range words {
		if i := strings.IndexAny(word, "\n\r\x00"); i >= 0 {
			return "", fmt.Errorf("%q holds %q: %w", word, word[i], ErrName)
		}
		line.WriteString(` "`)
		line.WriteString(strings.ReplaceAll(word, `"`, `""`))
		line.WriteByte('"')
	}
	if line.Len() > longestCommand {
		return "", fmt.Errorf("%.40q… takes %d bytes on debugfs's command line, at most %d: %w",
			words[0], line.Len(), longestCommand, ErrName)
	}
	return line.String(), nil
}

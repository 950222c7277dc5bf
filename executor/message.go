// SPDX-License-Identifier: MPL-2.0

package executor

import (
	"bytes"
	"strings"
	"time"
	"unicode"
)

const (
	// tailSize is the number of bytes of an output in which a message is searched.
	tailSize = 1 << 10
	// maxMessage limits the length of a message, in bytes.
	maxMessage = 300
)

// A tail holds the last bytes of an output.
type tail struct {
	bytes [tailSize]byte
	size  int
}

func (t *tail) add(b []byte) {
	b = b[max(0, len(b)-tailSize):]
	keep := min(t.size, tailSize-len(b))
	copy(t.bytes[:], t.bytes[t.size-keep:t.size])
	t.size = keep + copy(t.bytes[keep:], b)
}

// messageMarks begin the messages in which a Linux guest says why it ends: those of its
// start program, and the kernel's last one.
var messageMarks = [][]byte{[]byte("lkl: "), []byte("Kernel panic - not syncing: ")}

// message returns the last message of a Linux guest, or "". A line of the kernel begins
// with the time.
func (t *tail) message() string {
	lines := bytes.Split(t.bytes[:t.size], []byte("\n"))
	for i := len(lines) - 1; i >= 0; i-- {
		line := lines[i]
		for _, mark := range messageMarks {
			at := bytes.Index(line, mark)
			if at == 0 || at > 0 && line[0] == '[' {
				return printable(line[at:])
			}
		}
	}
	return ""
}

// printable returns a text without control characters, which the guest chose.
func printable(text []byte) string {
	text = text[:min(len(text), maxMessage)]
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(string(text), ""))
}

// message returns the last message of a Linux guest that has ended, or "". Messages that
// precede the guest's configuration are on the standard output.
func (o *outputs) message(now time.Time) string {
	for _, c := range []*console{&o.stderr, &o.stdout} {
		c.drain(now)
		if message := c.tail.message(); message != "" {
			return message
		}
	}
	return ""
}

// drain reads what an ended guest has left in the pipe, as far as it fits into the buffer.
func (c *console) drain(now time.Time) {
	for range tailSize {
		if c.in < 0 || c.dropping || c.w-c.r == len(c.buf) {
			return
		}
		c.read(now)
	}
}

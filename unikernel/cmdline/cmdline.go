// SPDX-License-Identifier: MPL-2.0

// Package cmdline writes the command line of a Solo5 guest: one string, which
// the guest splits into arguments itself.
package cmdline

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/problems"
)

const (
	// MaxLength is the maximum length of a command line in bytes, without the
	// terminating NUL (Solo5: HVT_CMDLINE_SIZE and SPT_CMDLINE_SIZE are 8192).
	MaxLength = 8191
	// MaxLongLength is the maximum for guests that accept long command lines
	// (unikernel.Info.LongCommandLine), in bytes. Escapes at most double 2 MiB of
	// environment and arguments.
	MaxLongLength = 4 << 20
)

// WhiteSpace holds the characters at which a guest splits its command line, as
// isspace(3) does in the C locale.
const WhiteSpace = " \t\n\v\f\r"

var (
	// ErrWord means that a command line cannot carry an argument or variable.
	ErrWord = errors.New("cannot be passed to the guest")
	// ErrTooLong means that a command line, or a part of it, exceeds a limit
	// of the guest.
	ErrTooLong = errors.New("too long for the guest")
)

// Join joins words by single blanks, unquoted, as Solo5's own tenders do. The result
// has at most maxLength bytes. The errors wrap ErrWord (for a NUL) or ErrTooLong.
func Join(words []string, maxLength int) (string, error) {
	b := Builder{MaxLength: maxLength}
	for i, w := range words {
		b.Add(Argument(i, w), w)
	}
	return b.CommandLine()
}

// Solo5 joins arguments as Join does, but refuses those that the guest would
// split differently. Its errors name every such argument and wrap ErrWord or
// ErrTooLong.
func Solo5(args []string) (string, error) {
	var b Builder
	for i, arg := range args {
		name := Argument(i, arg)
		switch {
		case arg == "":
			b.Refuse(name, "%w: flavor \"solo5\" has no empty arguments", ErrWord)
		case strings.ContainsAny(arg, WhiteSpace):
			b.Refuse(name, "%w: flavor \"solo5\" splits its command line at white space and has no quotes", ErrWord)
		default:
			b.Add(name, arg)
		}
	}
	return b.CommandLine()
}

// Argument names an argument in an error message, without its text, which may be a
// secret. The index counts from 0, the message from 1.
func Argument(index int, arg string) string {
	return fmt.Sprintf("argument %d (%d bytes)", index+1, len(arg))
}

// A Builder joins words by single blanks and collects every mistake in them.
// The zero value is an empty command line.
type Builder struct {
	MaxLength int // in bytes; 0 stands for the constant MaxLength

	words    []string
	length   int    // in bytes, with the blanks between the words
	longest  string // name of the longest word
	max      int    // length of the longest word
	problems problems.List
}

// Add appends a word, which must be escaped for the guest. The name is for
// error messages.
func (b *Builder) Add(name, word string) {
	if strings.IndexByte(word, 0) >= 0 {
		b.Refuse(name, "%w: it contains a NUL", ErrWord)
		return
	}
	if len(b.words) > 0 {
		b.length++
	}
	b.length += len(word)
	b.words = append(b.words, word)
	if len(word) > b.max {
		b.longest, b.max = name, len(word)
	}
}

// Refuse records a mistake, which CommandLine returns. The message should wrap a
// sentinel error with %w.
func (b *Builder) Refuse(name, format string, args ...any) {
	b.problems.Addf(name, format, args...)
}

// CommandLine returns the command line, or one error that wraps all mistakes.
func (b *Builder) CommandLine() (string, error) {
	limit := cmp.Or(b.MaxLength, MaxLength)
	if excess := b.length - limit; excess > 0 {
		b.Refuse("", "the command line is %w: %d bytes, %d more than %d; the longest word is %s, %d bytes for the guest",
			ErrTooLong, b.length, excess, limit, b.longest, b.max)
	}
	if err := b.problems.Err(); err != nil {
		return "", err
	}
	return strings.Join(b.words, " "), nil
}

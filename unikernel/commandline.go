// SPDX-License-Identifier: MPL-2.0

package unikernel

import (
	"errors"
	"fmt"
	"strings"
)

// MaxCommandLine is the length of the longest command line, in bytes, without
// its terminating zero (Solo5: 8192 bytes in hvt_abi.h and spt_abi.h).
const MaxCommandLine = 8191

// white is what a guest takes as white space, as C's isspace does.
const white = " \t\n\v\f\r"

// An Invocation is what a guest is started with.
type Invocation struct {
	// Env is the environment; FlavorSolo5 cannot pass it and leaves it out.
	Env map[string]string
	// Args are the arguments after the program's own name.
	Args []string
	// Config is for FlavorLKL alone; without it such a guest adds neither disk
	// nor network.
	Config *LKLConfig
}

// CommandLine is the guest's command line, byte by byte as the tender passes
// it. Its errors name every word or variable at fault and wrap ErrWord,
// ErrTooLong, ErrConfig or ErrFlavor.
func CommandLine(f Flavor, m *Image, in Invocation) (string, error) {
	if m == nil {
		m = &Image{}
	}
	switch f {
	case FlavorLKL:
		return lklCommandLine(m, in)
	case FlavorSolo5:
		return solo5CommandLine(in)
	default:
		return "", fmt.Errorf("%w: %q, where %q and %q are known", ErrFlavor, f, FlavorLKL, FlavorSolo5)
	}
}

// Join makes a command line as the stock tenders do: the words joined by
// single blanks, unquoted. Its errors wrap ErrWord (a zero byte) or ErrTooLong.
func Join(words []string) (string, error) {
	var l line
	for i, w := range words {
		l.add(argument(i, w), w)
	}
	return l.finish()
}

// solo5CommandLine joins the arguments as Join does, but refuses those that
// the guest would not find again.
func solo5CommandLine(in Invocation) (string, error) {
	var l line
	if in.Config != nil {
		l.wrong(fmt.Errorf("%w: a guest of flavour %q takes none", ErrConfig, FlavorSolo5))
	}
	for i, w := range in.Args {
		what := argument(i, w)
		switch {
		case w == "":
			l.wrong(fmt.Errorf("%s: %w: flavour %q has no empty words", what, ErrWord, FlavorSolo5))
		case strings.ContainsAny(w, white):
			l.wrong(fmt.Errorf("%s: %w: flavour %q splits its command line at white space and knows no quotes", what, ErrWord, FlavorSolo5))
		default:
			l.add(what, w)
		}
	}
	return l.finish()
}

// argument names the i-th argument in an error, from 1 as people count.
func argument(i int, word string) string {
	const most = 32
	if len(word) > most {
		return fmt.Sprintf("argument %d (%q and %d bytes more)", i+1, word[:most], len(word)-most)
	}
	return fmt.Sprintf("argument %d (%q)", i+1, word)
}

// A line is a command line in the making, with all that is wrong about it.
type line struct {
	words   []string
	size    int    // bytes, with the blanks between the words
	largest string // what the longest word is
	most    int    // and its length
	errs    []error
}

// add takes a word that is escaped already; what it is, is for errors.
func (l *line) add(what, word string) {
	if strings.IndexByte(word, 0) >= 0 {
		l.wrong(fmt.Errorf("%s: %w: it holds a zero byte", what, ErrWord))
		return
	}
	if len(l.words) > 0 {
		l.size++
	}
	l.size += len(word)
	l.words = append(l.words, word)
	if len(word) > l.most {
		l.largest, l.most = what, len(word)
	}
}

// wrong keeps an error for the end, so that all mistakes are told at once.
func (l *line) wrong(err error) { l.errs = append(l.errs, err) }

// finish is the whole line, or everything that is wrong about it.
func (l *line) finish() (string, error) {
	if excess := l.size - MaxCommandLine; excess > 0 {
		l.wrong(fmt.Errorf("the command line is %w: %d bytes, %d more than %d; the longest word is %s with %d bytes",
			ErrTooLong, l.size, excess, MaxCommandLine, l.largest, l.most))
	}
	if len(l.errs) > 0 {
		return "", errors.Join(l.errs...)
	}
	return strings.Join(l.words, " "), nil
}

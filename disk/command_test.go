// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"errors"
	"strings"
	"testing"

	"github.com/shoenig/test/must"
)

// split is debugfs's parser of a line (lib/ss/parse.c of e2fsprogs) told in Go.
func split(line string) ([]string, error) {
	const (
		blank = iota
		token
		quoted
	)
	var words []string
	mode := blank
	add := func(b byte) { words[len(words)-1] += string([]byte{b}) }
	for i := 0; i < len(line); i++ {
		c := line[i]
		switch {
		case mode == quoted && c == '"' && i+1 < len(line) && line[i+1] == '"':
			add('"')
			i++
		case mode == quoted && c == '"':
			mode = token
		case mode == quoted:
			add(c)
		case c == ' ' || c == '\t':
			mode = blank
		default:
			if mode == blank {
				words = append(words, "")
			}
			if mode = token; c == '"' {
				mode = quoted
			} else {
				add(c)
			}
		}
	}
	if mode == quoted {
		return nil, errors.New("unbalanced quotes")
	}
	return words, nil
}

func FuzzCommand_SplitsBackToItsWords(f *testing.F) {
	for _, seed := range [][2]string{
		{"/etc/hosts", ""},
		{`/a "b" c`, `"`},
		{" ", "\t"},
		{`""`, `"""`},
		{"/a\nrm /", "x"},
		{"#", "!id"},
		{"\xff", "é"},
		{strings.Repeat(`"`, 5000), "x"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, one, two string) {
		line, err := command("verb", one, two)
		if err != nil {
			must.ErrorIs(t, err, ErrName)
			must.True(t, strings.ContainsAny(one+two, "\n\r\x00") || len(line) == 0 && len(one)+len(two) > longestCommand/2-20)
			return
		}
		must.LessEq(t, longestCommand, len(line))
		must.False(t, strings.ContainsAny(line, "\n\r\x00"))
		words, err := split(line)
		must.NoError(t, err)
		must.Eq(t, []string{"verb", one, two}, words)
	})
}

func FuzzHexdump_NeverPanics(f *testing.F) {
	f.Add("0000  a481 0000 d007 0000 00ca 9a3b 00ca 9a3b  ...........;...;\n*\n0160  0000 0000 0000 0000 0000 0000 923a 0000  x")
	f.Add("*\n0020  ")
	f.Add("177760  a481 0000 d007 0000 00ca 9a3b 00ca 9a3b  ")
	f.Fuzz(func(t *testing.T, dump string) {
		raw, err := parseHexdump(strings.Split(dump, "\n"))
		must.LessEq(t, 1<<16, len(raw))
		if err == nil {
			must.Eq(t, 0, len(raw)%16)
		}
	})
}

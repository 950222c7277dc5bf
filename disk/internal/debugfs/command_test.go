// SPDX-License-Identifier: MPL-2.0

package debugfs

import (
	"errors"
	"strings"
	"testing"

	"github.com/shoenig/test/must"
)

// splitCommand is the parser of debugfs (lib/ss/parse.c of e2fsprogs) in Go.
func splitCommand(line string) ([]string, error) {
	const (
		blank = iota
		token
		quoted
	)
	var args []string
	state := blank
	add := func(b byte) { args[len(args)-1] += string([]byte{b}) }
	for i := 0; i < len(line); i++ {
		c := line[i]
		switch {
		case state == quoted && c == '"' && i+1 < len(line) && line[i+1] == '"':
			add('"')
			i++
		case state == quoted && c == '"':
			state = token
		case state == quoted:
			add(c)
		case c == ' ' || c == '\t':
			state = blank
		default:
			if state == blank {
				args = append(args, "")
			}
			if state = token; c == '"' {
				state = quoted
			} else {
				add(c)
			}
		}
	}
	if state == quoted {
		return nil, errors.New("unbalanced quotes")
	}
	return args, nil
}

func FuzzCommand_ParsesBackToItsArguments(f *testing.F) {
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
		line, err := Command("verb", one, two)
		if err != nil {
			must.ErrorIs(t, err, ErrName)
			must.True(t, strings.ContainsAny(one+two, "\n\r\x00") || len(line) == 0 && len(one)+len(two) > maxCommandLen/2-20)
			return
		}
		must.LessEq(t, maxCommandLen, len(line))
		must.False(t, strings.ContainsAny(line, "\n\r\x00"))
		args, err := splitCommand(line)
		must.NoError(t, err)
		must.Eq(t, []string{"verb", one, two}, args)
	})
}

func FuzzParseHexdump_NeverPanics(f *testing.F) {
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

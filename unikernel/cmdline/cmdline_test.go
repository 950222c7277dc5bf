// SPDX-License-Identifier: MPL-2.0

package cmdline_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/unikernel/cmdline"
)

func TestJoin_QuotesNothing(t *testing.T) {
	for want, words := range map[string][]string{
		``:         nil,
		`a b  "c"`: {"a b", "", `"c"`},
		`  a`:      {"", "", "a"},
	} {
		got, err := cmdline.Join(words, cmdline.MaxLength)
		must.NoError(t, err)
		must.Eq(t, want, got)
	}
	for _, limit := range []int{cmdline.MaxLength, cmdline.MaxLongLength} {
		line, err := cmdline.Join([]string{strings.Repeat("x", limit-1), ""}, limit)
		must.NoError(t, err)
		must.Eq(t, limit, len(line))
		_, err = cmdline.Join([]string{strings.Repeat("x", limit), ""}, limit)
		must.ErrorIs(t, err, cmdline.ErrTooLong)
	}
	_, err := cmdline.Join([]string{"\x00"}, cmdline.MaxLength)
	must.ErrorIs(t, err, cmdline.ErrWord)
}

func TestSolo5_IsByteExact(t *testing.T) {
	for want, args := range map[string][]string{
		``:                        nil,
		`--solo5:quiet a"b\ ä`:    {"--solo5:quiet", `a"b\`, "ä"},
		strings.Repeat("x", 8191): {strings.Repeat("x", 8191)},
	} {
		got, err := cmdline.Solo5(args)
		must.NoError(t, err)
		must.Eq(t, want, got)
	}
}

func TestSolo5_RefusesAmbiguousArguments(t *testing.T) {
	cases := []struct {
		name string
		args []string
		want error
		says string
	}{
		{"white space", []string{"a b"}, cmdline.ErrWord, `argument 1 (3 bytes)`},
		{"an empty argument", []string{"a", ""}, cmdline.ErrWord, `argument 2 (0 bytes)`},
		{"a NUL", []string{"\x00"}, cmdline.ErrWord, "argument 1"},
		{"9,002 bytes", []string{"a", strings.Repeat("x", 9000)}, cmdline.ErrTooLong, "argument 2 (9000 bytes)"},
		{"one byte too many", []string{strings.Repeat("x", 8192)}, cmdline.ErrTooLong, "1 more than 8191"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := cmdline.Solo5(c.args)
			must.ErrorIs(t, err, c.want)
			must.StrContains(t, err.Error(), c.says)
		})
	}
}

func TestSolo5_ReportsEveryMistake(t *testing.T) {
	_, err := cmdline.Solo5([]string{"", "a b", strings.Repeat("x", 9000)})
	for _, says := range []string{"argument 1", "argument 2", "argument 3"} {
		must.ErrorContains(t, err, says)
	}
	must.ErrorIs(t, err, cmdline.ErrWord)
	must.ErrorIs(t, err, cmdline.ErrTooLong)
}

// FuzzSolo5 checks that a guest that splits at white space gets the arguments
// that were given.
func FuzzSolo5(f *testing.F) {
	for _, s := range []string{"", "a", "a\x00b\x00--c=d", "a b", "a\x00\x00b", "'\x00\"\\", "\v\x00\u00a0\u2003"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, joined string) {
		args := strings.Split(joined, "\x00")
		line, err := cmdline.Solo5(args)
		isWhite := func(r rune) bool { return r < 0x80 && strings.ContainsRune(" \t\n\v\f\r", r) }
		if err != nil {
			must.True(t, len(joined) > cmdline.MaxLength || slices.Contains(args, "") || strings.ContainsFunc(joined, isWhite))
			return
		}
		must.Eq(t, args, strings.FieldsFunc(line, isWhite))
	})
}

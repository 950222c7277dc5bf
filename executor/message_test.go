// SPDX-License-Identifier: MPL-2.0

package executor

import (
	"strings"
	"testing"

	"github.com/shoenig/test/must"
)

func TestTail_FindsTheLastMessage(t *testing.T) {
	long := strings.Repeat("x", tailSize)
	for name, c := range map[string]struct {
		writes []string
		want   string
	}{
		"nothing":                {nil, ""},
		"no message":             {[]string{"a\nb lkl: c\n"}, ""},
		"start program":          {[]string{"a\nlkl: first\nlkl: second\nb\n"}, "lkl: second"},
		"in parts":               {[]string{"a\nlk", "l: fir", "st"}, "lkl: first"},
		"panic":                  {[]string{"[    0.001] Kernel panic - not syncing: no memory\n[    0.002] end\n"}, "Kernel panic - not syncing: no memory"},
		"after much output":      {[]string{long, long + "\n", "lkl: end\n"}, "lkl: end"},
		"long ago":               {[]string{"lkl: begin\n", long}, ""},
		"with control codes":     {[]string{"lkl: \x1b[31mred\xff\r\n"}, "lkl: [31mred"},
		"of more than 300 bytes": {[]string{"lkl: " + strings.Repeat("y", 400) + "\n"}, "lkl: " + strings.Repeat("y", 295)},
	} {
		var tail tail
		for _, w := range c.writes {
			tail.add([]byte(w))
		}
		must.Eq(t, c.want, tail.message(), must.Sprint(name))
	}
}

// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"testing"
	"time"

	"github.com/shoenig/test/must"
)

func TestFormatAge_HasOneUnit(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Hour: "0 seconds", time.Second: "1 second", 119 * time.Second: "1 minute", 3 * time.Hour: "3 hours", 49 * time.Hour: "2 days",
	} {
		must.Eq(t, want, formatAge(d))
	}
}

func TestPrintable_EscapesControlCharacters(t *testing.T) {
	for s, want := range map[string]string{
		"plain \"text\" é": "plain \"text\" é", "\x1b[2Jred": `\x1b[2Jred`, "a\nb": `a\nb`,
		"\u202eevil": `\u202eevil`, "bad\xff": `bad\xff`, "\x1b\"": `\x1b"`,
	} {
		must.Eq(t, want, printable(s))
	}
}

// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"math"
	"testing"
	"time"

	"github.com/shoenig/test/must"
)

func TestFormatSize_HasThreeDigits(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 100 << 10: "100 KiB", 1<<20 - 1: "1.0 MiB",
		64 << 20: "64.0 MiB", 1000 << 20: "1.0 GiB", math.MaxInt64: "8.0 EiB",
	} {
		must.Eq(t, want, formatSize(n))
	}
}

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

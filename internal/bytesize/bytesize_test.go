// SPDX-License-Identifier: MPL-2.0

package bytesize

import (
	"math"
	"testing"

	"github.com/shoenig/test/must"
)

func TestParse_AcceptsUnitsOf1024(t *testing.T) {
	const mib = 1 << 20
	for text, want := range map[string]int64{
		"1": mib, "256": 256 * mib, "256M": 256 * mib, "256MB": 256 * mib, "256MiB": 256 * mib, "2 GiB": 2048 * mib,
		"64K": 64 << 10, "4KiB": 4 << 10, "16384G": 16 << 40,
		"": 0, "0": 0, "-1": 0, "1.5G": 0, "M": 0, "1T": 0, "1Bi": 0, "16385G": 0, "99999999999999999999": 0, "0x10": 0,
	} {
		got, err := Parse(text)
		must.Eq(t, want, got, must.Sprintf("%q: %v", text, err))
		must.Eq(t, want == 0, err != nil, must.Sprintf("%q: %v", text, err))
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"1", "2GiB", "K", "", "9223372036854775807M"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := Parse(s)
		must.True(t, (err == nil) == (n > 0 && n <= Max), must.Sprintf("%q: %d, %v", s, n, err))
	})
}

func TestFormat_HasThreeDigits(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 100 << 10: "100 KiB", 1<<20 - 1: "1.0 MiB",
		64 << 20: "64.0 MiB", 1000 << 20: "1.0 GiB", math.MaxInt64: "8.0 EiB",
	} {
		must.Eq(t, want, Format(n))
	}
}

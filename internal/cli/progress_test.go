// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"bytes"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/shoenig/test/must"
)

// testProgress returns a progress whose clock stands still until it is advanced.
func testProgress(width int) (p *progress, output *bytes.Buffer, advance func(time.Duration)) {
	output = new(bytes.Buffer)
	clock := time.Unix(1e9, 0)
	p = &progress{w: output, title: "nginx:1.22", width: width, now: func() time.Time { return clock }}
	return p, output, func(d time.Duration) { clock = clock.Add(d) }
}

func TestProgress_RedrawsTenTimesASecond(t *testing.T) {
	p, output, advance := testProgress(80)
	for done := range int64(1000) {
		p.update("downloading", done<<10, 1000<<10)
		advance(time.Millisecond)
	}
	must.Eq(t, 10, strings.Count(output.String(), "\r"))
	must.StrNotContains(t, output.String(), "\n")
	p.clear()
	must.StrHasSuffix(t, "\r\x1b[K", output.String())
	output.Reset()
	p.clear()
	must.Eq(t, "", output.String())
}

func TestProgress_WritesFewLinesToAPipe(t *testing.T) {
	p, output, advance := testProgress(0)
	for done := range int64(12) {
		p.update("downloading", done<<20, 12<<20)
		advance(time.Second)
	}
	p.clear()
	must.Eq(t, `nginx:1.22: downloading 0 B of 12.0 MiB
nginx:1.22: downloading 5.0 MiB of 12.0 MiB
nginx:1.22: downloading 10.0 MiB of 12.0 MiB
`, output.String())
}

func TestProgress_IsSilentForAShortOperationInAPipe(t *testing.T) {
	var output bytes.Buffer
	newProgress(&output, "nginx").update("downloading", 1, 2)
	must.Eq(t, "", output.String())
}

func TestProgress_NotesAreLinesAboveTheBar(t *testing.T) {
	p, output, _ := testProgress(80)
	p.update("resolving", 0, 0)
	p.note("a.example does not answer")
	must.StrHasSuffix(t, "\r\x1b[Knginx:1.22: a.example does not answer\n", output.String())
}

func TestBar_FillsTheWidthOfTheTerminal(t *testing.T) {
	must.Eq(t, "nginx [##########..........] half", bar("nginx", "half", 33, 50, 100))
	must.Eq(t, "nginx [####################] all", bar("nginx", "all", 32, 200, 100))
	must.Eq(t, "nginx                       resolving", bar("nginx", "resolving", 37, 0, 0))
	long := strings.Repeat("registry.example.com/", 20) + "nginx:1.22"
	for width := range 200 {
		line := bar(long, "downloading 12.3 MiB of 45.6 MiB", width, 12, 45)
		must.LessEq(t, width, utf8.RuneCountInString(line))
	}
	must.StrContains(t, bar(long, "downloading", 80, 1, 2), "nginx:1.22 [#")
}

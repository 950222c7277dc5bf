// SPDX-License-Identifier: MPL-2.0

package lkl

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/shoenig/test/must"
)

// The kernel hands out memory in blocks of any order. Parts of a block that one
// allocation leaves over must be available to the next.
func TestMemory_FreedMemoryIsReusable(t *testing.T) {
	for _, memory := range []int{128, 256} {
		lines, status := runGuest(t, guestSpec{memory: strconv.Itoa(memory), args: strings.Fields("reallocate")})
		must.Eq(t, 0, status)
		var first, second, third int
		_, err := fmt.Sscanf(fmt.Sprint(lines), "[pieces %d pieces %d pieces %d]", &first, &second, &third)
		must.NoError(t, err, must.Sprint(lines))
		t.Logf("%d MB of memory: %d pieces of 2 MiB, then %d, then %d", memory, first, second, third)
		must.Greater(t, memory*6/10/2, first)
		must.GreaterEq(t, first*9/10, second)
		must.GreaterEq(t, first*9/10, third)
	}
}

// A program gets the memory of the page cache, of inodes and of dentries, in large pieces too.
func TestMemory_FilesLeaveLargePieces(t *testing.T) {
	kernel := compileGuest(t, "../bench/program/memory.c", "-Wno-unused-result")
	for memory, least := range map[int][3]float64{64: {0.8, 0.5, 0.3}, 256: {0.8, 0.7, 0.5}} {
		lines, status := runGuest(t, guestSpec{
			kernel: kernel, memory: strconv.Itoa(memory), root: buildImage(t, 1024, nil),
			args: []string{strconv.Itoa(memory), "8000"},
		})
		must.Eq(t, 0, status, must.Sprint(lines))
		must.Len(t, 4, lines)
		for i := range least {
			var kib, got, available, worst int
			_, err := fmt.Sscanf(lines[i], "pieces %d %d %d %d", &kib, &got, &available, &worst)
			must.NoError(t, err, must.Sprint(lines))
			t.Logf("%d MB of memory: %d of %d KiB in pieces of %d KiB", memory, got, available, kib)
			must.Greater(t, least[i], float64(got)/float64(available))
		}
		var got, available, holes int
		_, err := fmt.Sscanf(lines[3], "checkerboard %d %d %d", &got, &available, &holes)
		must.NoError(t, err, must.Sprint(lines))
		must.Greater(t, 0.8, float64(got)/float64(available-holes))
	}
}

// Moving pages of files away from a program's memory changes neither.
func TestMemory_KeepsContentsUnderPressure(t *testing.T) {
	lines, status := runGuest(t, guestSpec{
		kernel: compileGuest(t, "churn.c"), memory: "64", root: buildImage(t, 1024, nil), args: []string{"1", "5", "64"},
	})
	must.Eq(t, 0, status, must.Sprint(lines))
}

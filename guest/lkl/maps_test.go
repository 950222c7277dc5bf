// SPDX-License-Identifier: MPL-2.0

package lkl

import (
	"strings"
	"testing"

	"github.com/shoenig/test"
	"github.com/shoenig/test/must"
)

// Random operations on mappings, files and memory agree with a model. In a small guest
// the memory of the mappings moves among all other memory.
func TestMaps_AgreeWithFiles(t *testing.T) {
	kernel := compileGuest(t, "maps.c")
	for _, memory := range []string{"24", "128"} {
		for _, seed := range []string{"1", "2"} {
			g := startGuest(t, guestSpec{
				kernel: kernel, memory: memory, root: buildImage(t, 128, nil), args: []string{"5000", seed, "/", "/tmp"},
			})
			lines, status := g.waitExit(t)
			test.Eq(t, 0, status, test.Sprint(lines))
			test.StrHasPrefix(t, "5000 operations, ", lastLine(lines))
			requireCleanDisk(t, g.root)
		}
	}
}

// A shared mapping also needs memory of the kernel. One that takes nearly all of the memory
// is refused before the kernel has none.
func TestMaps_LargestOneLeavesMemoryToTheKernel(t *testing.T) {
	lines, status := runGuest(t, guestSpec{
		kernel: compileGuest(t, "exhaust.c"), memory: "64", root: buildImage(t, 64, nil),
		args: strings.Fields("available map-largest /a allocate 512"),
	})
	must.Eq(t, 0, status, must.Sprint(lines))
	available, _ := reported(t, lines[0])
	largest, failure := reported(t, lines[1])
	test.Eq(t, "Out of memory", failure)
	test.Greater(t, available*8/10, largest)
	test.Eq(t, "allocate: 512", lines[2])
}

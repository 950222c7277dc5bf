// SPDX-License-Identifier: MPL-2.0

package lkl

import (
	"strconv"
	"strings"
	"testing"

	"github.com/shoenig/test"
	"github.com/shoenig/test/must"
)

// Random operations on mappings, files and memory agree with a model. In a small guest
// the memory of the mappings moves among all other memory. Threads change other files while
// one waits in the middle of an operation.
func TestMaps_AgreeWithFiles(t *testing.T) {
	kernel := compileGuest(t, "maps.c")
	for _, c := range []struct {
		memory, seed string
		threads      int
	}{{"24", "1", 1}, {"24", "2", 1}, {"128", "9", 4}, {"128", "1", 4}, {"128", "2", 4}} {
		g := startGuest(t, guestSpec{
			kernel: kernel, memory: c.memory, root: buildImage(t, 128, nil), args: []string{strconv.Itoa(c.threads), "5000", c.seed, "/", "/tmp"},
		})
		lines, status := g.waitExit(t)
		must.Eq(t, 0, status, must.Sprint(lines))
		must.Len(t, c.threads, lines)
		for _, line := range lines {
			test.StrHasPrefix(t, "5000 operations, ", line)
		}
		requireCleanDisk(t, g.root)
	}
}

// Invalidations by the file server must not lose changes of the program.
func TestMaps_AgreeWithLiveFiles(t *testing.T) {
	kernel := compileGuest(t, "maps.c")
	for _, seed := range []string{"3", "5"} {
		shares := []share{{source: t.TempDir(), path: "/live"}}
		socket, host := packetPair(t)
		serveShares(t, host, shares)
		s := liveGuest(t, socket, shares, "4", "2000", seed, "/live", "/")
		s.kernel, s.memory, s.root = kernel, "128", buildImage(t, 128, nil)
		g := startGuest(t, s)
		must.NoError(t, socket.Close())
		lines, status := g.waitExit(t)
		must.Eq(t, 0, status, must.Sprint(lines))
		must.Len(t, 4, lines)
		requireCleanDisk(t, g.root)
	}
}

// Changes that do not fit on the disk stay in memory until they do.
func TestMaps_FullDiskKeepsChanges(t *testing.T) {
	root := buildImage(t, 16, nil)
	lines, status := runGuest(t, guestSpec{kernel: compileGuest(t, "mapfull.c"), root: root, args: []string{"/"}})
	must.Eq(t, 0, status, must.Sprint(lines))
	must.Eq(t, []string{
		"full disk: fsync: I/O error", "full disk: msync: I/O error", "full disk: MAP_FIXED: Out of memory",
		"memory: changed", "after unlink: fsync: done", "disk: changed", "after unlink: MAP_FIXED: done", "memory: ",
	}, lines)
	requireCleanDisk(t, root)
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

// The writer is in the middle of a call when the last shared mapping goes.
func TestMaps_WriteContinuesAfterTheLastMapping(t *testing.T) {
	kernel := compileGuest(t, "mapwrite.c")
	for _, file := range []string{"/file", "/tmp/file"} {
		lines, status := runGuest(t, guestSpec{
			kernel: kernel, memory: "128", root: buildImage(t, 64, nil), args: []string{file},
		})
		must.Eq(t, 0, status, must.Sprint(lines))
		must.Eq(t, []string{"end"}, lines)
	}
}

// The page is not in the page cache while another thread punches a hole.
func TestMaps_FsyncConfirmsOnlyWhatIsOnTheDisk(t *testing.T) {
	lines, status := runGuest(t, guestSpec{
		kernel: compileGuest(t, "mappunch.c", "-pthread"), root: buildImage(t, 64, nil), args: []string{"/"},
	})
	must.Eq(t, 0, status, must.Sprint(lines))
	must.Eq(t, []string{"end"}, lines)
}

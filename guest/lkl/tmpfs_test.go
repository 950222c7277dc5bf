// SPDX-License-Identifier: MPL-2.0

package lkl

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/shoenig/test"
	"github.com/shoenig/test/must"
)

// reported returns the number of a line of testdata/exhaust.c, and its error.
func reported(t *testing.T, line string) (n int, failure string) {
	t.Helper()
	_, rest, found := strings.Cut(line, ": ")
	must.True(t, found, must.Sprint(line))
	number, failure, _ := strings.Cut(rest, ", ")
	n, err := strconv.Atoi(number)
	must.NoError(t, err)
	return n, failure
}

// Whatever fills /tmp, /run, /dev/shm, /dev and memfds, it ends with ENOSPC, the program gets
// memory, and all of the memory is free again when the files are removed.
func TestTmpfs_FullOneLeavesMemoryToTheProgram(t *testing.T) {
	kernel := compileGuest(t, "exhaust.c")
	for _, c := range []struct{ name, fill, clear string }{
		{"data", "fill /tmp/a fill /run/a fill /dev/shm/a", "drop /tmp/a drop /run/a drop /dev/shm/a"},
		{"data in /dev", "fill /dev/a fill /tmp/a", "drop /dev/a drop /tmp/a"},
		{"memfd", "fill-memfd fill-memfd", "available"},
		{"reserved", "fill /tmp/a reserve /run/a 2000000", "drop /tmp/a drop /run/a"},
		{"empty files", "files /tmp/a files /run/a files /dev/shm/a", "clear /tmp/a clear /run/a clear /dev/shm/a"},
		{"small files", "small-files /tmp/a small-files /run/a", "clear /tmp/a clear /run/a"},
		{"directories", "directories /tmp/a directories /run/a", "clear /tmp/a clear /run/a"},
		{"symbolic links", "symlinks /tmp/a symlinks /run/a", "clear /tmp/a clear /run/a"},
		{"links", "links /tmp/a fill /tmp/b", "clear /tmp/a drop /tmp/linked drop /tmp/b"},
		{"attributes", "xattrs /tmp/a xattrs /run/a xattrs /dev/shm/a", "drop /tmp/a drop /run/a drop /dev/shm/a"},
	} {
		for _, memory := range []string{"24", "256"} {
			t.Run(c.name+" in "+memory+" MB", func(t *testing.T) {
				args := strings.Fields("available " + c.fill + " allocate 512 " + c.clear + " allocate 1000000")
				lines, status := runGuest(t, guestSpec{kernel: kernel, memory: memory, args: args})
				must.Eq(t, 0, status, must.Sprint(lines))
				allocated := slices.IndexFunc(lines, func(line string) bool { return strings.HasPrefix(line, "allocate") })
				for _, line := range lines[1:allocated] {
					_, failure := reported(t, line)
					test.Eq(t, "No space left on device", failure, test.Sprint(line))
				}
				test.Eq(t, "allocate: 512", lines[allocated])
				before, _ := reported(t, lines[0])
				after, _ := reported(t, lastLine(lines))
				test.Greater(t, before*19/20, after+512, test.Sprint(lines))
			})
		}
	}
}

// A reservation that does not fit leaves nothing behind.
func TestTmpfs_ReportsItsSpace(t *testing.T) {
	lines, status := runGuest(t, guestSpec{
		kernel: compileGuest(t, "exhaust.c"), memory: "64", args: strings.Fields(
			"space /tmp reserve /tmp/a 4096 space /tmp reserve /tmp/b 1000000 space /tmp fill /tmp/c reserve /tmp/b 8 space /tmp"),
	})
	must.Eq(t, 0, status, must.Sprint(lines))
	var free, size, files, limit int
	_, err := fmt.Sscanf(lines[0], "space: %d of %d, files %d of %d", &free, &size, &files, &limit)
	must.NoError(t, err, must.Sprint(lines))
	test.Eq(t, size, free)
	test.Between(t, 64*1024*4/10, size, 64*1024/2)
	test.Eq(t, []string{
		fmt.Sprintf("space: %d of %d, files %d of %d", size, size, limit-1, limit), "reserve: 4096",
		fmt.Sprintf("space: %d of %d, files %d of %d", size-4096, size, limit-2, limit), "reserve: 0, No space left on device",
		fmt.Sprintf("space: %d of %d, files %d of %d", size-4096, size, limit-3, limit),
		fmt.Sprintf("fill: %d, No space left on device", size-4096), "reserve: 0, No space left on device",
		fmt.Sprintf("space: 0 of %d, files %d of %d", size, limit-4, limit),
	}, lines)
}

// Where nothing limits the files but the memory, the program and the files share it.
func TestTmpfs_SharesMemoryWithTheProgram(t *testing.T) {
	kernel := compileGuest(t, "exhaust.c")
	for _, args := range []string{"together", "allocate 1000000 fill /tmp/a files /tmp/b fill-memfd", "map /tmp/a 1000000 map /tmp/b 60000 map /tmp/c 4000"} {
		lines, status := runGuest(t, guestSpec{kernel: kernel, memory: "64", args: strings.Fields(args)})
		test.Eq(t, 0, status, test.Sprint(lines))
	}
}

// SPDX-License-Identifier: MPL-2.0

package lkl

import (
	"fmt"
	"strconv"
	"testing"

	"github.com/shoenig/test/must"
)

// Without page tables a guard page stops nothing, so the kernel checks the end of a
// stack at system calls.
func TestStack_OverrunEndsProgram(t *testing.T) {
	kernel := compileGuest(t, "stacks.c")
	for name, args := range map[string][]string{
		"in a thread":                         {"thread"},
		"in a thread that makes system calls": {"thread-calls"},
		"in the main thread":                  {"main", "5000"},
		"in a signal handler":                 {"handler"},
	} {
		t.Run(name, func(t *testing.T) {
			lines, status := runGuest(t, guestSpec{kernel: kernel, args: args})
			must.Eq(t, 139, status, must.Sprint(lines))
			must.SliceNotContains(t, lines, "end")
		})
	}
}

func TestStack_LinkerOptionSetsSizes(t *testing.T) {
	const mib = 1 << 20
	for _, c := range []struct {
		options []string
		memory  int // MB
		size    int // of threads
		limit   int // the largest RLIMIT_STACK
	}{
		{nil, 32, 128 << 10, mib / 2},
		{[]string{"-Wl,-z,stack-size=1048576"}, 128, mib, 2 * mib},
		{[]string{"-Xlinker", "-z", "-Xlinker", "stack-size=0x2000000"}, 1024, 8 * mib, 8 * mib},
	} {
		kernel := compileGuest(t, "stacks.c", c.options...)
		lines, status := runGuest(t, guestSpec{kernel: kernel, memory: strconv.Itoa(c.memory), args: []string{"sizes"}})
		must.Eq(t, 0, status, must.Sprint(lines))
		var attribute, standard, limit int
		_, err := fmt.Sscanf(lines[0], "attribute %d default %d limit %d", &attribute, &standard, &limit)
		must.NoError(t, err, must.Sprint(lines))
		must.Eq(t, []int{c.size, c.size}, []int{attribute, standard})
		must.Between(t, c.limit*3/4, limit, c.limit)
	}
}

// The main thread's stack is not smaller than the size that the program was linked with.
func TestStack_LinkerOptionSetsMainStack(t *testing.T) {
	kernel := compileGuest(t, "stacks.c", "-Wl,-z,stack-size=8388608")
	lines, status := runGuest(t, guestSpec{kernel: kernel, args: []string{"main", "10000"}})
	must.Eq(t, 0, status, must.Sprint(lines))
	must.SliceContains(t, lines, "end")
}

// Small mappings between the stacks must not leave parts of memory that no stack fits in.
func TestStack_ThreadsFillMemory(t *testing.T) {
	kernel := compileGuest(t, "stacks.c", "-Wl,-z,stack-size=1048576")
	for _, memory := range []int{96, 122, 136} {
		lines, status := runGuest(t, guestSpec{kernel: kernel, memory: strconv.Itoa(memory), args: []string{"fill"}})
		must.Eq(t, 0, status, must.Sprint(lines))
		var threads, free, total int
		_, err := fmt.Sscanf(lines[0], "threads %d free %d total %d", &threads, &free, &total)
		must.NoError(t, err, must.Sprint(lines))
		t.Logf("%d MB of memory: %d threads, then %d KiB of %d KiB are free", memory, threads, free, total)
		must.Less(t, total/8, free)
	}
}

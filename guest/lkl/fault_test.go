// SPDX-License-Identifier: MPL-2.0

package lkl

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/shoenig/test"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// Exit statuses that come from the start program or the kernel, not from the
// program itself: see LKL_EXIT_… in linux/arch/lkl/include/uapi/asm/lkl.h.
const (
	exitConfig  = 121
	exitRoot    = 122
	exitNetwork = 123
	exitStart   = 124
	exitRestart = 125
	exitPanic   = 255
)

// exitBySignal returns the exit status of a guest whose program died by s.
func exitBySignal(s syscall.Signal) int { return 128 + int(s) }

func TestFault_FullDiskIsReportedToProgram(t *testing.T) {
	root := buildImage(t, 16, nil)
	lines, status := runGuest(t, guestSpec{root: root, args: strings.Fields("fill /file write /other say still-here exit 3")})
	test.Eq(t, []string{
		"fill: No space left on device", "fsync: done", "write: No space left on device", "still-here",
	}, lines)
	test.Eq(t, 3, status)
	requireCleanDisk(t, root)
}

// overwrite damages a part of a file.
func overwrite(t *testing.T, path string, at int64, size int) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	must.NoError(t, err)
	_, err = f.WriteAt([]byte(strings.Repeat("damage", size/6)), at)
	must.NoError(t, err)
	must.NoError(t, f.Close())
}

func TestFault_UnusableRootEndsGuestBeforeProgram(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty")
	must.NoError(t, os.WriteFile(empty, make([]byte, 1<<20), 0o600))
	superblock := buildImage(t, 16, nil)
	overwrite(t, superblock, 1024, 512)
	descriptors := buildImage(t, 16, nil)
	overwrite(t, descriptors, 4096, 4096)
	journal := buildImage(t, 16, nil)
	out, err := exec.Command("debugfs", "-R", "blocks <8>", journal).Output()
	must.NoError(t, err)
	block, err := strconv.ParseInt(strings.Fields(string(out))[0], 10, 64)
	must.NoError(t, err)
	overwrite(t, journal, block*4096, 4096)
	short := buildImage(t, 16, nil)
	must.NoError(t, os.Truncate(short, 8<<20))
	const unusable = "it holds no ext4 and no ISO 9660 file system, is damaged or cut short, or an option is unknown"
	const cannot = `lkl: cannot mount the root file system from block device "rootfs": `
	for _, c := range []struct{ name, root, line string }{
		{"empty", empty, cannot + unusable},
		{"superblock", superblock, cannot + unusable},
		{"journal", journal, cannot + unusable},
		{"cut short", short, cannot + unusable},
		{"descriptors", descriptors, cannot + "damaged; check it with e2fsck"},
	} {
		t.Run(c.name, func(t *testing.T) {
			lines, status := runGuest(t, guestSpec{root: c.root, args: strings.Fields("say started")})
			test.Eq(t, c.line, lastLine(lines))
			test.Eq(t, exitRoot, status)
		})
	}
}

// imageWithDamagedDirectory makes an image whose directory /d has several
// blocks, one of them damaged.
func imageWithDamagedDirectory(t *testing.T) string {
	t.Helper()
	files := map[string]string{}
	for i := range 300 {
		files["d/a-file-with-a-long-name-"+strconv.Itoa(i)] = ""
	}
	root := buildImage(t, 16, files)
	testenv.Need(t, testenv.Tool("debugfs"))
	out, err := exec.Command("debugfs", "-R", "blocks /d", root).Output()
	must.NoError(t, err)
	blocks := regexp.MustCompile(`\d+`).FindAllString(string(out), -1)
	must.Greater(t, 1, len(blocks))
	block, err := strconv.ParseInt(blocks[1], 10, 64)
	must.NoError(t, err)
	overwrite(t, root, block*4096, 4096)
	return root
}

func TestFault_DamagedDirectory(t *testing.T) {
	t.Run("is reported on the console", func(t *testing.T) {
		lines, status := runGuest(t, guestSpec{root: imageWithDamagedDirectory(t), args: strings.Fields("list /d say still-here")})
		test.StrHasPrefix(t, "EXT4-fs error (device rootfs): ", lines[0])
		test.Eq(t, "still-here", lastLine(lines))
		test.Eq(t, 0, status)
	})
	t.Run("makes the root read-only with errors=remount-ro", func(t *testing.T) {
		s := guestSpec{
			root: imageWithDamagedDirectory(t), config: map[string]any{"root_options": "errors=remount-ro"},
			args: strings.Fields("list /d write /new"),
		}
		lines, _ := runGuest(t, s)
		test.SliceContains(t, lines, "EXT4-fs (rootfs): Remounting filesystem read-only")
		test.SliceContains(t, lines, "write: Read-only file system")
		// The error has aborted the journal.
		test.Eq(t, "lkl: the file system on / could not be written back: input or output error; the next mount must recover it",
			lastLine(lines))
	})
	t.Run("is a panic with errors=panic", func(t *testing.T) {
		s := guestSpec{
			root: imageWithDamagedDirectory(t), config: map[string]any{"root_options": "errors=panic"},
			args: strings.Fields("list /d say still-here"),
		}
		lines, status := runGuest(t, s)
		test.StrHasPrefix(t, "Kernel panic - not syncing: ", lastLine(lines))
		test.Eq(t, exitPanic, status)
	})
}

func TestFault_OutOfMemory(t *testing.T) {
	t.Run("fails the program's allocation", func(t *testing.T) {
		lines, status := runGuest(t, guestSpec{memory: "32", args: strings.Fields("allocate say still-here")})
		test.Eq(t, "allocate: Out of memory", lines[0])
		test.Eq(t, "still-here", lastLine(lines))
		test.Eq(t, 0, status)
	})
	t.Run("ends the program if the kernel runs out", func(t *testing.T) {
		root := buildImage(t, 16, nil)
		lines, status := runGuest(t, guestSpec{
			kernel: compileGuest(t, "exhaust.c"), memory: "32", root: root, args: strings.Fields("small-files /before sockets space /"),
		})
		test.Eq(t, "lkl: the program was killed because the guest ran out of memory: give it more", lastLine(lines))
		test.Eq(t, exitBySignal(syscall.SIGKILL), status)
		requireCleanDisk(t, root)
	})
	t.Run("ends the program if the kernel runs out in several threads", func(t *testing.T) {
		spec := guestSpec{kernel: compileGuest(t, "starve.c", "-pthread"), memory: "32", args: []string{"/file"}}
		for range 5 {
			spec.root = buildImage(t, 16, nil)
			lines, status := runGuest(t, spec)
			must.Eq(t, "lkl: the program was killed because the guest ran out of memory: give it more", lastLine(lines))
			must.Eq(t, exitBySignal(syscall.SIGKILL), status)
			requireCleanDisk(t, spec.root)
		}
	})
	t.Run("ends the program if the kernel runs out in threads that wait for each other", func(t *testing.T) {
		spec := guestSpec{kernel: compileGuest(t, "append.c", "-pthread"), memory: "32"}
		for _, threads := range strings.Fields(strings.Repeat("8 12 20 30 ", 4)) {
			spec.root, spec.args = buildImage(t, 64, nil), []string{threads, "/file"}
			lines, status := runGuest(t, spec)
			must.Eq(t, "lkl: the program was killed because the guest ran out of memory: give it more", lastLine(lines))
			must.Eq(t, exitBySignal(syscall.SIGKILL), status)
			requireCleanDisk(t, spec.root)
		}
	})
	t.Run("is reported before the kernel starts", func(t *testing.T) {
		lines, status := runGuest(t, guestSpec{memory: "6", args: strings.Fields("say started")})
		test.StrHasPrefix(t, "lkl: not enough memory: 6 MB, at least ", lastLine(lines))
		test.Eq(t, exitStart, status)
	})
}

func TestFault_ReportsHowProgramEnded(t *testing.T) {
	for _, c := range []struct {
		args   string
		line   string
		status int
	}{
		{"say x exit 0", "x", 0},
		{"say x exit 7", "x", 7},
		{"abort", "lkl: the program was killed by signal 6 (SIGABRT)", exitBySignal(syscall.SIGABRT)},
		{"raise 11", "lkl: the program was killed by signal 11 (SIGSEGV)", exitBySignal(syscall.SIGSEGV)},
		{"raise 9", "lkl: the program was killed by signal 9 (SIGKILL)", exitBySignal(syscall.SIGKILL)},
		{"raise 40", "lkl: the program was killed by signal 40 (see signal(7))", exitBySignal(40)},
		{"reboot halt", "reboot: System halted", 0},
		{"reboot restart", "reboot: Restarting system", exitRestart},
	} {
		t.Run(c.args, func(t *testing.T) {
			lines, status := runGuest(t, guestSpec{args: strings.Fields(c.args)})
			test.Eq(t, c.line, lastLine(lines))
			test.Eq(t, c.status, status)
		})
	}
}

// Under spt nothing in the guest can catch a fault, so the tender reports it.
func TestFault_NullPointerWriteEndsGuest(t *testing.T) {
	g := startGuest(t, guestSpec{args: strings.Fields("null")})
	lines, status := g.waitExit(t)
	test.Eq(t, exitBySignal(syscall.SIGSEGV), status)
	test.StrContains(t, lastLine(lines), "guest fault (SIGSEGV)")
}

func TestFault_InvalidPointersInSystemCallsAreErrors(t *testing.T) {
	lines, status := runGuest(t, guestSpec{args: strings.Fields("pointers")})
	must.SliceNotEmpty(t, lines)
	for _, line := range lines {
		test.StrHasSuffix(t, ": Bad address", line)
	}
	test.Eq(t, 0, status)
}

func TestFault_UnreachableHostsAreErrors(t *testing.T) {
	lines, status := runGuest(t, guestSpec{
		config: map[string]any{
			"interfaces": []map[string]string{{"name": "tap", "ip": "10.0.0.2", "masklen": "24"}},
			"sysctl":     "net.ipv4.neigh.tap.retrans_time_ms=50",
		},
		args: strings.Fields("connect 10.0.0.1 connect 192.0.2.1 say still-here"),
	})
	test.Eq(t, []string{
		"connect 10.0.0.1: Host is unreachable", "connect 192.0.2.1: Network unreachable", "still-here",
	}, lines)
	test.Eq(t, 0, status)
}

func TestFault_RemovedTapEndsGuest(t *testing.T) {
	if !enterOwnNetwork(t) {
		return
	}
	root := buildImage(t, 16, nil)
	g := startGuest(t, guestSpec{root: root, tap: "tap0", config: defaultNetwork, args: strings.Fields("write /file say ready sleep 60000")})
	g.expectLine(t, "ready")
	runIP(t, "link del tap0")
	lines, status := g.waitExit(t)
	test.SliceContains(t, lines, "network device tap: the host has removed it")
	test.Eq(t, "lkl: the guest ends because a network device is gone", lastLine(lines))
	test.Eq(t, exitNetwork, status)
	requireCleanDisk(t, root)
}

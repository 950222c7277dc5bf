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

// The guest's exit statuses that are not its program's: start/start.h.
const (
	exitWords   = 121
	exitRoot    = 122
	exitNetwork = 123
	exitStart   = 124
	exitRestart = 125
	exitPanic   = 255
)

// bySignal is the status of a program that a signal has ended.
func bySignal(s syscall.Signal) int { return 128 + int(s) }

func TestFault_FullDiskIsTheProgramsToHandle(t *testing.T) {
	root := image(t, 16, nil)
	lines, status := run(t, setup{root: root, args: words("fill /file write /other say still-here exit 3")})
	test.Eq(t, []string{
		"fill: No space left on device", "fsync: done", "write: No space left on device", "still-here",
	}, lines)
	test.Eq(t, 3, status)
	clean(t, root)
}

// damage overwrites a part of a file.
func damage(t *testing.T, path string, at int64, size int) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	must.NoError(t, err)
	_, err = f.WriteAt([]byte(strings.Repeat("damage", size/6)), at)
	must.NoError(t, err)
	must.NoError(t, f.Close())
}

func TestFault_NoRootEndsTheGuestBeforeItsProgram(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty")
	must.NoError(t, os.WriteFile(empty, make([]byte, 1<<20), 0o600))
	superblock := image(t, 16, nil)
	damage(t, superblock, 1024, 512)
	descriptors := image(t, 16, nil)
	damage(t, descriptors, 4096, 4096)
	journal := image(t, 16, nil)
	out, err := exec.Command("debugfs", "-R", "blocks <8>", journal).Output()
	must.NoError(t, err)
	block, err := strconv.ParseInt(strings.Fields(string(out))[0], 10, 64)
	must.NoError(t, err)
	damage(t, journal, block*4096, 4096)
	short := image(t, 16, nil)
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
			lines, status := run(t, setup{root: c.root, args: words("say started")})
			test.Eq(t, c.line, last(lines))
			test.Eq(t, exitRoot, status)
		})
	}
}

// damagedDirectory makes an image with a directory /d of several blocks, one of
// which is damaged.
func damagedDirectory(t *testing.T) string {
	t.Helper()
	files := map[string]string{}
	for i := range 300 {
		files["d/a-file-with-a-long-name-"+strconv.Itoa(i)] = ""
	}
	root := image(t, 16, files)
	testenv.Need(t, testenv.Tool("debugfs"))
	out, err := exec.Command("debugfs", "-R", "blocks /d", root).Output()
	must.NoError(t, err)
	blocks := regexp.MustCompile(`\d+`).FindAllString(string(out), -1)
	must.Greater(t, 1, len(blocks))
	block, err := strconv.ParseInt(blocks[1], 10, 64)
	must.NoError(t, err)
	damage(t, root, block*4096, 4096)
	return root
}

func TestFault_DamagedDirectory(t *testing.T) {
	t.Run("is told on the console", func(t *testing.T) {
		lines, status := run(t, setup{root: damagedDirectory(t), args: words("list /d say still-here")})
		test.StrHasPrefix(t, "EXT4-fs error (device rootfs): ", lines[0])
		test.Eq(t, "still-here", last(lines))
		test.Eq(t, 0, status)
	})
	t.Run("ends writing if asked for", func(t *testing.T) {
		s := setup{
			root: damagedDirectory(t), config: map[string]any{"root_options": "errors=remount-ro"},
			args: words("list /d write /new"),
		}
		lines, _ := run(t, s)
		test.SliceContains(t, lines, "EXT4-fs (rootfs): Remounting filesystem read-only")
		test.Eq(t, "write: Read-only file system", last(lines))
	})
	t.Run("is a panic if asked for", func(t *testing.T) {
		s := setup{
			root: damagedDirectory(t), config: map[string]any{"root_options": "errors=panic"},
			args: words("list /d say still-here"),
		}
		lines, status := run(t, s)
		test.StrHasPrefix(t, "Kernel panic - not syncing: ", last(lines))
		test.Eq(t, exitPanic, status)
	})
}

func TestFault_OutOfMemory(t *testing.T) {
	t.Run("is the program's to handle when it asks for more", func(t *testing.T) {
		lines, status := run(t, setup{memory: "32", args: words("eat say still-here")})
		test.Eq(t, "eat: Out of memory", lines[0])
		test.Eq(t, "still-here", last(lines))
		test.Eq(t, 0, status)
	})
	t.Run("ends the program when the kernel has none", func(t *testing.T) {
		root := image(t, 16, nil)
		lines, status := run(t, setup{memory: "32", root: root, args: words("write /before fill /tmp/file say still-here")})
		test.Eq(t, "lkl: the program was ended because the guest's memory is used up: give it more, or make it use less", last(lines))
		test.Eq(t, bySignal(syscall.SIGKILL), status)
		clean(t, root)
	})
	t.Run("is a panic when the guest cannot even start", func(t *testing.T) {
		lines, status := run(t, setup{memory: "6", args: words("say started")})
		test.StrHasPrefix(t, "Kernel panic - not syncing: ", last(lines))
		test.Eq(t, exitPanic, status)
	})
}

func TestFault_ProgramsEnd(t *testing.T) {
	for _, c := range []struct {
		args   string
		line   string
		status int
	}{
		{"say x exit 0", "x", 0},
		{"say x exit 7", "x", 7},
		{"abort", "lkl: the program was ended by signal 6 (SIGABRT)", bySignal(syscall.SIGABRT)},
		{"raise 11", "lkl: the program was ended by signal 11 (SIGSEGV)", bySignal(syscall.SIGSEGV)},
		{"raise 9", "lkl: the program was ended by signal 9 (SIGKILL)", bySignal(syscall.SIGKILL)},
		{"raise 40", "lkl: the program was ended by signal 40 (see signal(7))", bySignal(40)},
		{"reboot halt", "reboot: System halted", 0},
		{"reboot restart", "reboot: Restarting system", exitRestart},
	} {
		t.Run(c.args, func(t *testing.T) {
			lines, status := run(t, setup{args: words(c.args)})
			test.Eq(t, c.line, last(lines))
			test.Eq(t, c.status, status)
		})
	}
}

// Under spt nothing in the guest can catch a fault: the tender tells of it.
func TestFault_WildJumpOfTheProgramEndsTheGuest(t *testing.T) {
	g := start(t, setup{args: words("null")})
	_, status := g.end(t)
	test.Eq(t, bySignal(syscall.SIGSEGV), status)
	test.StrContains(t, g.errs.String(), "guest fault (SIGSEGV)")
}

func TestFault_WildPointersInSystemCallsAreErrors(t *testing.T) {
	lines, status := run(t, setup{args: words("wild")})
	must.SliceNotEmpty(t, lines)
	for _, line := range lines {
		test.StrHasSuffix(t, ": Bad address", line)
	}
	test.Eq(t, 0, status)
}

func TestFault_NetworkThatNobodyAnswers(t *testing.T) {
	lines, status := run(t, setup{
		config: map[string]any{
			"interfaces": []map[string]string{{"name": "tap", "ip": "10.0.0.2", "masklen": "24"}},
			"sysctl":     "net.ipv4.neigh.tap.retrans_time_ms=50",
		},
		args: words("connect 10.0.0.1 connect 192.0.2.1 say still-here"),
	})
	test.Eq(t, []string{
		"connect 10.0.0.1: Host is unreachable", "connect 192.0.2.1: Network unreachable", "still-here",
	}, lines)
	test.Eq(t, 0, status)
}

func TestFault_TapThatTheHostRemovesEndsTheGuest(t *testing.T) {
	if !namespaced(t) {
		return
	}
	root := image(t, 16, nil)
	g := start(t, setup{root: root, tap: "tap0", config: network, args: words("write /file say ready sleep 60000")})
	g.expect(t, "ready")
	ip(t, "link del tap0")
	lines, status := g.end(t)
	test.SliceContains(t, lines, "network device tap: the host has removed it")
	test.Eq(t, "lkl: the guest ends without its network", last(lines))
	test.Eq(t, exitNetwork, status)
	clean(t, root)
}

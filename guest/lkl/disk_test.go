// SPDX-License-Identifier: MPL-2.0

package lkl

import (
	"fmt"
	"hash/fnv"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/shoenig/test"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/disk"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
)

// offer is what the tender offers for a disk, told to it and to the guest.
func (s *setup) offer(name string, transfer int, flush bool) {
	record := map[string]string{"name": name}
	if transfer > 0 {
		record["transfer"] = decimal(transfer)
		s.options = append(s.options, fmt.Sprintf("--block-transfer:%s=%d", name, transfer))
	}
	if flush {
		record["flush"] = "1"
		s.options = append(s.options, "--block-flush:"+name)
	}
	if s.config == nil {
		s.config = map[string]any{}
	}
	disks, _ := s.config["disks"].([]any)
	s.config["disks"] = append(disks, record)
}

// withData is a guest with a second disk, "data", that runs testdata/disk.c.
func withData(t *testing.T, data string, args string) setup {
	t.Helper()
	_, cable := pair(t)
	t.Cleanup(func() { _ = cable.Close() })
	return setup{
		kernel: compiled(t, "disk.c", "-manifest", "testdata/devices.json"), extra: cable, args: words(args),
		options: []string{"--block:data=" + data, "--net:second=@5"},
	}
}

func TestDisk_HoldsWhatWasWrittenInWholeRequests(t *testing.T) {
	for _, sector := range []int{512, 1024, 4096} {
		for _, transfer := range []int{0, 2 * sector, 48 << 10, 1 << 20} {
			t.Run(fmt.Sprintf("%d by %d", sector, transfer), func(t *testing.T) {
				data := filepath.Join(t.TempDir(), "data")
				must.NoError(t, os.WriteFile(data, make([]byte, 1021*4096), 0o600))
				s := withData(t, data, "raw /dev/data "+decimal(sector))
				s.options = append(s.options, "--block-sector-size:data="+decimal(sector))
				s.offer("data", transfer, transfer%3 == 0)
				lines, status := run(t, s)
				must.Eq(t, 0, status, must.Sprint(lines))
				content, err := os.ReadFile(data)
				must.NoError(t, err)
				sum := fnv.New64a()
				_, _ = sum.Write(content) // never fails
				must.Eq(t, []string{fmt.Sprintf("digest %016x", sum.Sum64())}, lines)
			})
		}
	}
}

func TestDisk_FilesAreReadBackByAGuestWithOtherTransfers(t *testing.T) {
	for _, transfer := range [][2]int{{1 << 20, 0}, {0, 1 << 20}, {12 << 10, 64 << 10}} {
		data := image(t, 32, nil)
		for i, word := range []string{"fill", "check"} {
			s := withData(t, data, word+" /data")
			s.offer("data", transfer[i], false)
			s.config["mounts"] = []any{map[string]string{"device": "data", "path": "/data"}}
			lines, status := run(t, s)
			must.Eq(t, []string{word + ": done"}, lines)
			must.Eq(t, 0, status)
			clean(t, data)
		}
	}
}

// A manifest's name may have 67 characters, of which Linux's own for the disk
// has the first 31: the guest is told of it by all of them.
func TestDisk_IsToldOfByItsWholeName(t *testing.T) {
	name := strings.Repeat("d", unikernel.MaxDeviceName)
	manifest := filepath.Join(t.TempDir(), "manifest.json")
	must.NoError(t, os.WriteFile(manifest, []byte(`{ "type": "solo5.manifest", "version": 1, "devices": [
		{ "name": "rootfs", "type": "BLOCK_BASIC" }, { "name": "`+name+`", "type": "BLOCK_BASIC" },
		{ "name": "tap", "type": "NET_BASIC" }, { "name": "control", "type": "NET_BASIC" } ] }`), 0o600))
	kernel, data := compiled(t, "disk.c", "-manifest", manifest), loop(t, image(t, 16, nil))
	s := setup{kernel: kernel, args: words("append /data/log 20"), options: []string{"--block:" + name + "=" + data}}
	s.offer(name, 1<<20, true)
	s.config["mounts"] = []any{map[string]string{"device": name, "path": "/data"}}
	before := flushes(t, data)
	lines, status := run(t, s)
	must.Eq(t, "synced 19", last(lines))
	must.Eq(t, 0, status)
	test.GreaterEq(t, 20, flushes(t, data)-before)
	clean(t, data)

	for _, wrong := range []string{name[:31], name[:66]} {
		s.config["disks"] = []any{map[string]string{"name": wrong, "transfer": "1048576"}}
		lines, status := run(t, s)
		test.Eq(t, `lkl: --config: disk "`+wrong+`": no such device or file system type`, last(lines))
		test.Eq(t, exitWords, status)
	}
}

func TestDisk_ConfirmedIsThereAfterKill(t *testing.T) {
	for _, flush := range []bool{false, true} {
		root := image(t, 16, nil)
		s := setup{kernel: compiled(t, "disk.c"), root: root, args: words("append /log 100000")}
		s.offer("rootfs", 1<<20, flush)
		g := start(t, s)
		confirmed := g.expect(t, "synced 150")
		must.NoError(t, g.Process.Kill())
		lines, _ := g.end(t)
		if l := last(lines); strings.HasPrefix(l, "synced ") {
			confirmed = l
		}

		lines, status := run(t, setup{root: root, args: words("write /new")}) // replays the journal
		must.Eq(t, []string{"write: done"}, lines)
		must.Eq(t, 0, status)
		clean(t, root)
		content, err := disk.Get(t.Context(), root, "/log")
		must.NoError(t, err)
		must.StrContains(t, string(content), "\n"+strings.TrimPrefix(confirmed, "synced ")+"\n")
	}
}

// loop makes a block device of this machine of a file.
func loop(t *testing.T, file string) string {
	t.Helper()
	testenv.Need(t, testenv.Root, testenv.Loop, testenv.Tool("losetup"))
	out, err := exec.Command("losetup", "--find", "--show", file).CombinedOutput()
	must.NoError(t, err, must.Sprintf("losetup: %s", out))
	device := strings.TrimSpace(string(out))
	t.Cleanup(func() {
		out, err := exec.Command("losetup", "--detach", device).CombinedOutput()
		must.NoError(t, err, must.Sprintf("losetup: %s", out))
	})
	return device
}

// flushes is how many flushes a block device of this machine has carried out
// (Linux: Documentation/block/stat.rst).
func flushes(t *testing.T, device string) int {
	t.Helper()
	stat, err := os.ReadFile(filepath.Join("/sys/class/block", filepath.Base(device), "stat"))
	must.NoError(t, err)
	const flushIOs = 15
	n, err := strconv.Atoi(strings.Fields(string(stat))[flushIOs])
	must.NoError(t, err)
	return n
}

func TestDisk_FlushReachesTheHostsDiskWhereAskedFor(t *testing.T) {
	const syncs = 20
	for name, c := range map[string]struct {
		flush, through bool
		least, most    int
	}{
		"neither":       {false, false, 0, 0},
		"flush":         {true, false, syncs, 4 * syncs}, // a journal's commit may be two
		"write-through": {false, true, syncs, 1000 * syncs},
	} {
		t.Run(name, func(t *testing.T) {
			device := loop(t, image(t, 16, nil))
			s := setup{kernel: compiled(t, "disk.c"), root: device, args: words("append /log " + decimal(syncs))}
			s.offer("rootfs", 1<<20, c.flush)
			if c.through {
				s.options = append(s.options, "--block-write-through:rootfs")
			}
			before := flushes(t, device)
			lines, status := run(t, s)
			test.Between(t, c.least, flushes(t, device)-before, c.most)
			test.Eq(t, "synced "+decimal(syncs-1), last(lines))
			test.Eq(t, 0, status)
		})
	}
}

// A flush that the tender does not allow is the guest's end, which tells that
// there is one.
func TestDisk_FlushThatIsToldAndNotAllowed(t *testing.T) {
	s := setup{kernel: compiled(t, "disk.c"), args: words("sync /file")}
	s.config = map[string]any{"disks": []any{map[string]string{"name": "rootfs", "flush": "1"}}}
	_, status := run(t, s)
	must.Eq(t, bySignal(syscall.SIGSYS), status)
}

// fullDisk is a disk image that claims more than its file system has room for.
func fullDisk(t *testing.T) string {
	t.Helper()
	testenv.Need(t, testenv.Root)
	dir := t.TempDir()
	must.NoError(t, syscall.Mount("none", dir, "tmpfs", 0, "size=3M"))
	t.Cleanup(func() { must.NoError(t, syscall.Unmount(dir, 0)) })
	path := filepath.Join(dir, "root.ext4")
	must.NoError(t, disk.Copy(t.Context(), image(t, 64, nil), path))
	return path
}

func TestDisk_ErrorsOfTheHostAreTheProgramsToHandle(t *testing.T) {
	for name, c := range map[string]struct {
		flush bool
		root  func(t *testing.T) string
	}{
		"no room to write": {false, fullDisk},
		// The loop device takes writes, and finds out when it is flushed.
		"no room at a flush": {true, func(t *testing.T) string { return loop(t, fullDisk(t)) }},
	} {
		t.Run(name, func(t *testing.T) {
			args := words("sync /1 sync /2 sync /3 sync /4")
			s := setup{kernel: compiled(t, "disk.c"), root: c.root(t), args: args}
			s.offer("rootfs", 1<<20, c.flush)
			lines, _ := run(t, s)
			test.SliceContains(t, lines, "fsync: I/O error", test.Sprint(lines))
		})
	}
}

func TestConfig_DisksThatCannotDoSo(t *testing.T) {
	for _, c := range []struct{ name, transfer, flush, line string }{
		{"none", "", "1", `lkl: --config: disk "none": no such device or file system type`},
		{"tap", "", "1", `lkl: --config: disk "tap": no such device or file system type`},
		{"rootfs", "1000", "", `lkl: --config: disk "rootfs": invalid`},
		{"rootfs", "x", "", `lkl: --config: disk "rootfs": invalid`},
		{"rootfs", "", "2", `lkl: --config: disk "rootfs": invalid`},
	} {
		record := map[string]string{"name": c.name, "transfer": c.transfer, "flush": c.flush}
		lines, status := run(t, setup{config: map[string]any{"disks": []any{record}}, args: words("say started")})
		test.Eq(t, c.line, last(lines))
		test.Eq(t, exitWords, status)
	}
}

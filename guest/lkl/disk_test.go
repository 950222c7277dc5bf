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
	"github.com/lkl-nomad/nomad-driver-lkl/testenv/ext4"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
)

// offerDisk sets what a disk may do beyond the Solo5 ABI, in the options of the
// tender and in the configuration of the guest alike.
func (s *guestSpec) offerDisk(name string, transfer int, flush bool) {
	record := map[string]string{"name": name}
	if transfer > 0 {
		record["transfer"] = strconv.Itoa(transfer)
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

// specWithDataDisk describes a guest that runs testdata/disk.c and has a second
// disk, "data".
func specWithDataDisk(t *testing.T, data string, args string) guestSpec {
	t.Helper()
	_, cable := socketPair(t)
	t.Cleanup(func() { _ = cable.Close() })
	return guestSpec{
		kernel: compileGuest(t, "disk.c", "-manifest", "testdata/devices.json"), extra: cable, args: strings.Fields(args),
		options: []string{"--block:data=" + data, "--net:second=@5"},
	}
}

func TestDisk_StoresTransfersOfEverySize(t *testing.T) {
	for _, sector := range []int{512, 1024, 4096} {
		for _, transfer := range []int{0, 2 * sector, 48 << 10, 1 << 20} {
			t.Run(fmt.Sprintf("sector %d transfer %d", sector, transfer), func(t *testing.T) {
				data := filepath.Join(t.TempDir(), "data")
				must.NoError(t, os.WriteFile(data, make([]byte, 1021*4096), 0o600))
				s := specWithDataDisk(t, data, "raw /dev/data "+strconv.Itoa(sector))
				s.options = append(s.options, "--block-sector-size:data="+strconv.Itoa(sector))
				s.offerDisk("data", transfer, transfer%3 == 0)
				lines, status := runGuest(t, s)
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

// The tender attaches disks and networks that the manifest in the kernel's file lacks.
func TestDevices_ManifestNeedNotDeclareThem(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	must.NoError(t, os.WriteFile(data, make([]byte, 1021*4096), 0o600))
	s := specWithDataDisk(t, data, "raw /dev/data 4096")
	s.kernel = compileGuest(t, "disk.c")
	s.options = append(s.options, "--block-sector-size:data=4096")
	s.offerDisk("data", 1<<20, true)
	lines, status := runGuest(t, s)
	must.Eq(t, 0, status, must.Sprint(lines))
	content, err := os.ReadFile(data)
	must.NoError(t, err)
	sum := fnv.New64a()
	_, _ = sum.Write(content) // never fails
	must.Eq(t, []string{fmt.Sprintf("digest %016x", sum.Sum64())}, lines)
}

func TestDevices_GuestFindsAsManyAsTheABIAllows(t *testing.T) {
	s := guestSpec{config: map[string]any{}, args: []string{"list", "/sys/block", "file", "/sys/block/data59/size"}}
	for i := range unikernel.MaxDevices - 3 { // rootfs, tap and control are in the manifest
		data := filepath.Join(t.TempDir(), "data")
		must.NoError(t, os.WriteFile(data, make([]byte, (i+1)*512), 0o600))
		s.options = append(s.options, fmt.Sprintf("--block:data%d=%s", i, data))
	}
	lines, status := runGuest(t, s)
	must.Eq(t, 0, status, must.Sprint(lines))
	must.Eq(t, []string{"list: 63 entries", "/sys/block/data59/size: 60"}, lines) // with . and ..
	s.options = append(s.options, "--block:more="+s.options[0][len("--block:data0="):])
	g := startGuest(t, s)
	lines, status = g.waitExit(t)
	must.Eq(t, 1, status)
	must.StrContains(t, lastLine(lines), "64 devices are attached, must be at most 63")
}

func TestDisk_FilesSurviveChangeOfTransferSize(t *testing.T) {
	for _, transfer := range [][2]int{{1 << 20, 0}, {0, 1 << 20}, {12 << 10, 64 << 10}} {
		data := buildImage(t, 32, nil)
		for i, word := range []string{"fill", "check"} {
			s := specWithDataDisk(t, data, word+" /data")
			s.offerDisk("data", transfer[i], false)
			s.config["mounts"] = []any{map[string]string{"device": "data", "path": "/data"}}
			lines, status := runGuest(t, s)
			must.Eq(t, []string{word + ": done"}, lines)
			must.Eq(t, 0, status)
			requireCleanDisk(t, data)
		}
	}
}

// A device name in a manifest has up to 67 characters. Linux keeps only the
// first 31 as its name of the disk, but the configuration must use all of them.
func TestDisk_ConfigMatchesFullDeviceName(t *testing.T) {
	name := strings.Repeat("d", unikernel.MaxDeviceName)
	manifest := filepath.Join(t.TempDir(), "manifest.json")
	must.NoError(t, os.WriteFile(manifest, []byte(`{ "type": "solo5.manifest", "version": 1, "devices": [
		{ "name": "rootfs", "type": "BLOCK_BASIC" }, { "name": "`+name+`", "type": "BLOCK_BASIC" },
		{ "name": "tap", "type": "NET_BASIC" }, { "name": "control", "type": "NET_BASIC" } ] }`), 0o600))
	kernel, data := compileGuest(t, "disk.c", "-manifest", manifest), attachLoopDevice(t, buildImage(t, 16, nil))
	s := guestSpec{kernel: kernel, args: strings.Fields("append /data/log 20"), options: []string{"--block:" + name + "=" + data}}
	s.offerDisk(name, 1<<20, true)
	s.config["mounts"] = []any{map[string]string{"device": name, "path": "/data"}}
	before := countFlushes(t, data)
	lines, status := runGuest(t, s)
	must.Eq(t, "synced 19", lastLine(lines))
	must.Eq(t, 0, status)
	test.GreaterEq(t, 20, countFlushes(t, data)-before)
	requireCleanDisk(t, data)

	for _, prefix := range []string{name[:31], name[:66]} {
		s.config["disks"] = []any{map[string]string{"name": prefix, "transfer": "1048576"}}
		lines, status := runGuest(t, s)
		test.Eq(t, `lkl: --config: disk "`+prefix+`": no such device or file system type`, lastLine(lines))
		test.Eq(t, exitConfig, status)
	}
}

func TestDisk_SyncedDataSurvivesKill(t *testing.T) {
	for _, flush := range []bool{false, true} {
		root := buildImage(t, 16, nil)
		s := guestSpec{kernel: compileGuest(t, "disk.c"), root: root, args: strings.Fields("append /log 100000")}
		s.offerDisk("rootfs", 1<<20, flush)
		g := startGuest(t, s)
		lastSynced := g.expectLine(t, "synced 150")
		must.NoError(t, g.Process.Kill())
		lines, _ := g.waitExit(t)
		if l := lastLine(lines); strings.HasPrefix(l, "synced ") {
			lastSynced = l
		}

		lines, status := runGuest(t, guestSpec{root: root, args: strings.Fields("write /new")}) // replays the journal
		must.Eq(t, []string{"write: done"}, lines)
		must.Eq(t, 0, status)
		requireCleanDisk(t, root)
		content, err := ext4.ReadFile(root, "/log")
		must.NoError(t, err)
		must.StrContains(t, string(content), "\n"+strings.TrimPrefix(lastSynced, "synced ")+"\n")
	}
}

// attachLoopDevice attaches a file to a loop device of the host until the test
// ends, and returns the path of the device.
func attachLoopDevice(t *testing.T, file string) string {
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

// countFlushes returns the number of flushes that a block device of the host
// has completed (Linux: Documentation/block/stat.rst).
func countFlushes(t *testing.T, device string) int {
	t.Helper()
	stat, err := os.ReadFile(filepath.Join("/sys/class/block", filepath.Base(device), "stat"))
	must.NoError(t, err)
	const flushIOs = 15
	n, err := strconv.Atoi(strings.Fields(string(stat))[flushIOs])
	must.NoError(t, err)
	return n
}

func TestDisk_FlushesHostDiskIfConfigured(t *testing.T) {
	const syncs = 20
	for name, c := range map[string]struct {
		flush, writeThrough bool
		min, max            int
	}{
		"neither":       {false, false, 0, 0},
		"flush":         {true, false, syncs, 4 * syncs}, // a commit of the journal may flush twice
		"write-through": {false, true, syncs, 1000 * syncs},
	} {
		t.Run(name, func(t *testing.T) {
			device := attachLoopDevice(t, buildImage(t, 16, nil))
			s := guestSpec{kernel: compileGuest(t, "disk.c"), root: device, args: strings.Fields("append /log " + strconv.Itoa(syncs))}
			s.offerDisk("rootfs", 1<<20, c.flush)
			if c.writeThrough {
				s.options = append(s.options, "--block-write-through:rootfs")
			}
			before := countFlushes(t, device)
			lines, status := runGuest(t, s)
			test.Between(t, c.min, countFlushes(t, device)-before, c.max)
			test.Eq(t, "synced "+strconv.Itoa(syncs-1), lastLine(lines))
			test.Eq(t, 0, status)
		})
	}
}

// The tender's seccomp filter kills a guest that flushes a disk without
// permission. This configuration wrongly grants it.
func TestDisk_FlushWithoutTenderOptionKillsGuest(t *testing.T) {
	s := guestSpec{kernel: compileGuest(t, "disk.c"), args: strings.Fields("sync /file")}
	s.config = map[string]any{"disks": []any{map[string]string{"name": "rootfs", "flush": "1"}}}
	_, status := runGuest(t, s)
	must.Eq(t, exitBySignal(syscall.SIGSYS), status)
}

// imageOnSmallDisk returns the path of an image of 64 MiB that is larger than the
// file system that stores it. size is that of the file system, as for tmpfs.
func imageOnSmallDisk(t *testing.T, size string) string {
	t.Helper()
	testenv.Need(t, testenv.Root)
	dir := t.TempDir()
	must.NoError(t, syscall.Mount("none", dir, "tmpfs", 0, "size="+size))
	t.Cleanup(func() { must.NoError(t, syscall.Unmount(dir, 0)) })
	path := filepath.Join(dir, "root.ext4")
	must.NoError(t, disk.Copy(t.Context(), buildImage(t, 64, nil), path))
	return path
}

// imageOnFullDisk returns the path of an image to which most writes fail.
func imageOnFullDisk(t *testing.T) string { return imageOnSmallDisk(t, "3M") }

func TestDisk_HostErrorsReachProgram(t *testing.T) {
	for name, c := range map[string]struct {
		flush bool
		root  func(t *testing.T) string
	}{
		"no room to write": {false, imageOnFullDisk},
		// The loop device accepts writes and fails only when it is flushed.
		"no room at a flush": {true, func(t *testing.T) string { return attachLoopDevice(t, imageOnFullDisk(t)) }},
	} {
		t.Run(name, func(t *testing.T) {
			args := strings.Fields("sync /1 sync /2 sync /3 sync /4")
			s := guestSpec{kernel: compileGuest(t, "disk.c"), root: c.root(t), args: args}
			s.offerDisk("rootfs", 1<<20, c.flush)
			lines, _ := runGuest(t, s)
			test.SliceContains(t, lines, "fsync: I/O error", test.Sprint(lines))
		})
	}
}

// requireSyncedData fails the test if the files of "hold" are not on the disk, or
// if the disk is damaged.
func requireSyncedData(t *testing.T, s guestSpec) {
	t.Helper()
	s.args[0] = "held"
	lines, status := runGuest(t, s) // replays the journal
	must.SliceContains(t, lines, "held: done", must.Sprint(lines))
	must.Eq(t, 0, status)
}

// At the end of the guest the synced data is in the journal. It cannot be written
// to its final place, because the host's disk is full.
func TestDisk_SyncedDataSurvivesExitOnFullHostDisk(t *testing.T) {
	for _, mount := range []string{"/", "/data"} {
		t.Run(mount, func(t *testing.T) {
			image := imageOnSmallDisk(t, "16M")
			s := guestSpec{kernel: compileGuest(t, "disk.c"), root: image, args: []string{"hold", mount}}
			if mount != "/" {
				s = specWithDataDisk(t, image, "hold "+mount)
				s.config = map[string]any{"mounts": []any{map[string]string{"device": "data", "path": mount}}}
			}
			g := startGuest(t, s)
			g.expectLine(t, "hold: done")
			must.NoError(t, testenv.FillDisk(filepath.Dir(image)))
			g.sendControl(t, "stop 15")
			lines, status := g.waitExit(t)
			test.Eq(t, exitBySignal(syscall.SIGTERM), status)
			test.SliceContains(t, lines, "lkl: the file system on "+mount+
				" could not be written back: input or output error; the next mount must recover it", test.Sprint(lines))

			must.NoError(t, os.Remove(filepath.Join(filepath.Dir(image), "full")))
			requireSyncedData(t, s)
			requireCleanDisk(t, image)
		})
	}
}

func TestConfig_RejectsInvalidDiskOptions(t *testing.T) {
	for _, c := range []struct{ name, transfer, flush, line string }{
		{"none", "", "1", `lkl: --config: disk "none": no such device or file system type`},
		{"tap", "", "1", `lkl: --config: disk "tap": no such device or file system type`},
		{"rootfs", "1000", "", `lkl: --config: disk "rootfs": invalid`},
		{"rootfs", "x", "", `lkl: --config: disk "rootfs": invalid`},
		{"rootfs", "", "2", `lkl: --config: disk "rootfs": invalid`},
	} {
		record := map[string]string{"name": c.name, "transfer": c.transfer, "flush": c.flush}
		lines, status := runGuest(t, guestSpec{config: map[string]any{"disks": []any{record}}, args: strings.Fields("say started")})
		test.Eq(t, c.line, lastLine(lines))
		test.Eq(t, exitConfig, status)
	}
}

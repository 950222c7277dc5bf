// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv/ext4"
)

// createDisk returns the path of a new disk, alone in a directory, and its open file.
func createDisk(t *testing.T, size int64) (string, *os.File) {
	t.Helper()
	ctx := toolContext(t)
	dir, err := os.Open(t.TempDir())
	must.NoError(t, err)
	defer dir.Close()
	must.NoError(t, Create(ctx, dir, "disk", NewOptions{Size: size, UID: 1000, GID: 100}))
	path := filepath.Join(dir.Name(), "disk")
	return path, openDisk(t, path)
}

func openDisk(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	must.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

// mustBeAlone requires that the only file in its directory is the one at a path.
func mustBeAlone(t *testing.T, path string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	must.NoError(t, err)
	must.Len(t, 1, entries)
}

func TestCreate_MakesADiskForAUser(t *testing.T) {
	t.Parallel()
	path, f := createDisk(t, 20<<20)
	must.NoError(t, ext4.Check(path))
	must.StrContains(t, runDebugfs(t, path, "stat /"), "User:  1000   Group:   100")
	info, err := f.Stat()
	must.NoError(t, err)
	must.Eq(t, 20<<20, info.Size())
	must.Eq(t, 0o600, info.Mode().Perm())
	mustBeAlone(t, path)
	_, err = Check(toolContext(t), Sandbox{}, f, filepath.Dir(path))
	must.NoError(t, err)
}

func TestCreate_EachDiskHasItsOwnUUID(t *testing.T) {
	t.Parallel()
	first, _ := createDisk(t, 2<<20)
	second, _ := createDisk(t, 2<<20)
	uuid := func(path string) string {
		_, rest, _ := strings.Cut(runDebugfs(t, path, "stats"), "Filesystem UUID:")
		line, _, _ := strings.Cut(rest, "\n")
		return strings.TrimSpace(line)
	}
	must.NotEq(t, uuid(first), uuid(second))
}

func TestCreate_LetsOneOfManyWin(t *testing.T) {
	t.Parallel()
	ctx := toolContext(t)
	dir, err := os.Open(t.TempDir())
	must.NoError(t, err)
	defer dir.Close()
	errs := make([]error, 4)
	var group sync.WaitGroup
	for i := range errs {
		group.Go(func() { errs[i] = Create(ctx, dir, "disk", NewOptions{Size: 2 << 20}) })
	}
	group.Wait()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
			continue
		}
		must.ErrorIs(t, err, fs.ErrExist)
	}
	must.Eq(t, 1, won)
	mustBeAlone(t, filepath.Join(dir.Name(), "disk"))
}

func TestCreate_LeavesNothingOnAFullHost(t *testing.T) {
	t.Parallel()
	ctx := toolContext(t)
	dir, err := os.Open(smallHostDir(t))
	must.NoError(t, err)
	defer dir.Close()
	must.ErrorIs(t, Create(ctx, dir, "disk", NewOptions{Size: 20 << 20}), ErrReserve)
	must.ErrorIs(t, CreateRaw(dir, "disk", 20<<20), ErrReserve)
	left, err := os.ReadDir(dir.Name())
	must.NoError(t, err)
	must.SliceEmpty(t, left)
}

func TestCheck_ReplaysTheJournal(t *testing.T) {
	t.Parallel()
	image := sampleImage(t)
	block := strings.Fields(runDebugfs(t, image, "blocks /etc/hosts-too"))
	writeJournal(t, image, block[len(block)-1], journaledBlock)
	f := openDisk(t, image)
	must.ErrorIs(t, CheckSuperblock(f), ErrUnclean)
	repaired, err := Check(toolContext(t), Sandbox{}, f, filepath.Dir(image))
	must.NoError(t, err)
	must.False(t, repaired)
	must.NoError(t, CheckSuperblock(f))
	must.NoError(t, ext4.Check(image))
	must.Eq(t, "jou", readFile(t, image, "/etc/hosts-too"))
}

// setState changes the state of an image with metadata checksums, as a kernel does.
func setState(t *testing.T, image, state string) {
	t.Helper()
	out, err := exec.Command("debugfs", "-w", "-R", "set_super_value state "+state, image).CombinedOutput()
	must.NoError(t, err, must.Sprint(string(out)))
}

func TestCheck_RepairsTheErrorsThatAreSafeToRepair(t *testing.T) {
	t.Parallel()
	image := sampleImage(t)
	out, err := exec.Command("debugfs", "-w", "-R", "set_super_value free_blocks_count 1", image).CombinedOutput()
	must.NoError(t, err, must.Sprint(string(out)))
	setState(t, image, "2")
	f := openDisk(t, image)
	must.ErrorIs(t, CheckSuperblock(f), ErrErrors)
	repaired, err := Check(toolContext(t), Sandbox{}, f, filepath.Dir(image))
	must.NoError(t, err)
	must.True(t, repaired)
	must.NoError(t, CheckSuperblock(f))
	must.NoError(t, ext4.Check(image))
	must.Eq(t, "kept", readFile(t, image, "/data/kept"))
}

func TestCheck_LeavesADamagedImageAsItIs(t *testing.T) {
	t.Parallel()
	for name, state := range map[string]string{"clean": "1", "with errors": "2"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testDamagedImage(t, state)
		})
	}
}

func testDamagedImage(t *testing.T, state string) {
	t.Helper()
	image := sampleImage(t)
	// A name leads to an inode that is free: e2fsck -p leaves the choice to a person.
	for _, command := range []string{"clri /data", "set_super_value free_inodes_count 3"} {
		out, err := exec.Command("debugfs", "-w", "-R", command, image).CombinedOutput()
		must.NoError(t, err, must.Sprint(string(out)))
	}
	setState(t, image, state)
	before, err := os.ReadFile(image)
	must.NoError(t, err)
	f := openDisk(t, image)
	_, err = Check(toolContext(t), Sandbox{}, f, filepath.Dir(image))
	must.ErrorIs(t, err, ErrDamaged)
	after, err := os.ReadFile(image)
	must.NoError(t, err)
	must.True(t, bytes.Equal(before, after))
}

func TestCheck_RefusesOtherContent(t *testing.T) {
	t.Parallel()
	for content, name := range map[string]string{
		"XFSB":     "an XFS file system",
		"unknown!": "unknown data",
		"\x1f\x8b": "data compressed by gzip",
	} {
		path := writeFile(t, filepath.Join(t.TempDir(), "disk"), content+strings.Repeat("x", 100_000))
		f := openDisk(t, path)
		_, err := Check(toolContext(t), Sandbox{}, f, filepath.Dir(path))
		must.ErrorIs(t, err, ErrKind)
		must.Eq(t, name, Describe(f))
		empty, err := IsEmpty(f)
		must.NoError(t, err)
		must.False(t, empty)
	}
}

func TestIsEmpty_AcceptsHolesOnly(t *testing.T) {
	t.Parallel()
	path := writeFile(t, filepath.Join(t.TempDir(), "disk"), "")
	f := openDisk(t, path)
	must.NoError(t, f.Truncate(4<<20))
	empty, err := IsEmpty(f)
	must.NoError(t, err)
	must.True(t, empty)
	must.NoError(t, Format(toolContext(t), f, NewOptions{Size: 4 << 20}))
	must.NoError(t, ext4.Check(path))
}

func TestEnlarge_GrowsAndNeverShrinks(t *testing.T) {
	t.Parallel()
	ctx := toolContext(t)
	path, f := createDisk(t, 20<<20)
	for _, c := range []struct{ want, got int64 }{{0, 20 << 20}, {64 << 20, 64 << 20}, {1 << 20, 64 << 20}, {300<<20 + 5, 300 << 20}} {
		size, err := Enlarge(ctx, Sandbox{}, f, c.want)
		must.NoError(t, err)
		must.Eq(t, c.got, size)
		must.NoError(t, ext4.Check(path))
	}
}

func TestEnlarge_RefusesMoreThanTheHostHas(t *testing.T) {
	t.Parallel()
	ctx := toolContext(t)
	dir, err := os.Open(smallHostDir(t))
	must.NoError(t, err)
	defer dir.Close()
	must.NoError(t, Create(ctx, dir, "disk", NewOptions{Size: 4 << 20}))
	path := filepath.Join(dir.Name(), "disk")
	before, err := os.ReadFile(path)
	must.NoError(t, err)
	_, err = Enlarge(ctx, Sandbox{}, openDisk(t, path), 40<<20)
	must.ErrorIs(t, err, ErrReserve)
	after, err := os.ReadFile(path)
	must.NoError(t, err)
	must.True(t, bytes.Equal(before, after))
}

func TestLock_HasOneWriterOrManyReaders(t *testing.T) {
	t.Parallel()
	path := writeFile(t, filepath.Join(t.TempDir(), "disk"), "x")
	at := func() *os.File { return openDisk(t, path) }
	canceled, cancel := context.WithCancel(t.Context())
	cancel() // Lock does not wait for the other user
	first, second := at(), at()
	must.NoError(t, Lock(canceled, first, true))
	must.NoError(t, Lock(canceled, second, true))
	must.ErrorIs(t, Lock(canceled, at(), false), ErrInUse)
	must.NoError(t, errors.Join(first.Close(), second.Close()))
	writer := at()
	must.NoError(t, Lock(canceled, writer, false))
	must.ErrorIs(t, Lock(canceled, at(), false), ErrInUse)
	must.ErrorIs(t, Lock(canceled, at(), true), ErrInUse)
}

func TestHasISO9660_ReadsTheMagic(t *testing.T) {
	t.Parallel()
	content := make([]byte, 40<<10)
	copy(content[isoOffset:], "CD001")
	must.True(t, HasISO9660(bytes.NewReader(content)))
	must.Eq(t, "an ISO 9660 file system", Describe(bytes.NewReader(content)))
	binary.LittleEndian.PutUint16(content[isoOffset:], 0)
	must.False(t, HasISO9660(bytes.NewReader(content)))
}

// A plugin that is killed during a check leaves the image to the user of the tool.
func TestCheck_ReturnsAnImageOfAKilledPluginToRoot(t *testing.T) {
	testenv.Need(t, testenv.Root)
	t.Parallel()
	path, f := createDisk(t, 20<<20)
	for owner, want := range map[int]uint32{1883242496 + 77: 0, 1000: 1000} {
		must.NoError(t, f.Chown(owner, owner))
		_, err := Check(toolContext(t), Sandbox{}, f, filepath.Dir(path))
		must.NoError(t, err)
		var stat unix.Stat_t
		must.NoError(t, unix.Fstat(int(f.Fd()), &stat))
		must.Eq(t, want, stat.Uid)
		must.Eq(t, want, stat.Gid)
	}
}

// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"bytes"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/disk/internal/debugfs"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv/ext4"
)

// The image of a killed guest has changes in its journal. The next mount would apply them
// over those of Put.
func TestPut_ReplaysJournalFirst(t *testing.T) {
	t.Parallel()
	image := sampleImage(t)
	block := strings.Fields(runDebugfs(t, image, "blocks /etc/hosts-too"))
	must.SliceNotEmpty(t, block)
	writeJournal(t, image, block[len(block)-1], journaledBlock)
	f, err := os.Open(image)
	must.NoError(t, err)
	defer f.Close()
	sb, err := readSuperblock(f)
	must.NoError(t, err)
	must.True(t, sb.needsRecovery)

	must.NoError(t, Put(toolContext(t), Sandbox{}, image, []File{textFile("/new", "new")}))
	must.NoError(t, ext4.Check(image))
	must.Eq(t, "jou", readFile(t, image, "/etc/hosts-too"))
	must.Eq(t, "new", readFile(t, image, "/new"))
}

// e2fsck writes the blocks of a journal wherever it says, and so makes the file longer
// than the file system.
func TestImages_RefuseJournalThatWritesBeyondTheEnd(t *testing.T) {
	t.Parallel()
	ctx := toolContext(t)
	image := sampleImage(t)
	block := strings.Fields(runDebugfs(t, image, "blocks /etc/hosts-too"))
	must.SliceNotEmpty(t, block)
	writeJournal(t, image, block[len(block)-1], journaledBlock)
	const far = 40_000_000 // block number
	moveJournaledBlock(t, image, far)
	content, err := os.ReadFile(image)
	must.NoError(t, err)
	for name, do := range map[string]func(path string) error{
		"put":  func(path string) error { return Put(ctx, Sandbox{}, path, []File{textFile("/new", "new")}) },
		"grow": func(path string) error { return Grow(ctx, Sandbox{}, path, 64<<20) },
	} {
		path := writeFile(t, filepath.Join(t.TempDir(), "image"), string(content))
		must.ErrorIs(t, do(path), ErrDamaged, must.Sprint(name))
	}
}

// e2fsck reads the superblock again after it has replayed the journal. A superblock from
// the journal that names a device as the journal leads e2fsck to that device.
func TestImages_RefuseJournalWithAnotherSuperblock(t *testing.T) {
	t.Parallel()
	ctx := toolContext(t)
	sound, err := os.ReadFile(sampleImage(t))
	must.NoError(t, err)
	device, opens := loopDevice(t)
	for name, fields := range map[string]map[int]uint32{
		"external journal": {0xd0: 1, 0xe4: device},
		"mmp":              {0x60: 0x2c2 | incompatMMP},
	} {
		image := writeFile(t, filepath.Join(t.TempDir(), "image"), string(sound))
		writeJournal(t, image, "0", withFields(sound, fields)[:BlockSize])
		for _, err := range []error{
			Put(ctx, Sandbox{}, image, []File{textFile("/new", "new")}), Grow(ctx, Sandbox{}, image, 64<<20),
		} {
			must.ErrorIs(t, err, ErrFeature, must.Sprint(name))
		}
	}
	must.Eq(t, 0, opens())
}

// The primary superblock has a wrong checksum, and a backup with a right one names a
// device as the journal.
func TestImages_DoNotUseBackupSuperblocks(t *testing.T) {
	t.Parallel()
	ctx := toolContext(t)
	image := mke2fs(t, "-t ext4 -g 1024")
	content, err := os.ReadFile(image)
	must.NoError(t, err)
	device, opens := loopDevice(t)
	recover := map[int]uint32{0x60: 0x2c2 | incompatRecover}
	backup := withFields(content, map[int]uint32{0x60: 0x2c2 | incompatRecover, 0xe0: 0, 0xd0: 1, 0xe4: device})
	content = withFields(content, recover)
	content[superblockOffset+checksumOffset] ^= 0xff
	const backupBlock = 1024 // the first of group 1
	copy(content[backupBlock*BlockSize:], backup[superblockOffset:superblockOffset+superblockSize])
	must.NoError(t, os.WriteFile(image, content, 0o600))
	for _, err := range []error{
		Put(ctx, Sandbox{}, image, []File{textFile("/new", "new")}), Grow(ctx, Sandbox{}, image, 64<<20),
	} {
		must.ErrorIs(t, err, ErrDamaged)
	}
	must.Eq(t, 0, opens())
}

// loopDevice returns the number of a loop device, as in a superblock, and a function that
// counts how often it is opened.
func loopDevice(t *testing.T) (number uint32, opens func() int) {
	t.Helper()
	testenv.Need(t, testenv.Root, testenv.Loop, testenv.Tool("losetup"))
	file := writeFile(t, filepath.Join(t.TempDir(), "journal device"), strings.Repeat("untouched", 1<<16))
	out, err := exec.Command("losetup", "--find", "--show", file).CombinedOutput()
	must.NoError(t, err, must.Sprintf("losetup: %s", out))
	device := strings.TrimSpace(string(out))
	t.Cleanup(func() {
		out, err := exec.Command("losetup", "--detach", device).CombinedOutput()
		must.NoError(t, err, must.Sprintf("losetup: %s", out))
		content, err := os.ReadFile(file)
		must.NoError(t, err)
		must.Eq(t, strings.Repeat("untouched", 1<<16), string(content))
	})
	info, err := os.Stat(device)
	must.NoError(t, err)
	stat, ok := info.Sys().(*syscall.Stat_t)
	must.True(t, ok)
	return unix.Major(stat.Rdev)<<8 | unix.Minor(stat.Rdev), testenv.Opens(t, device)
}

// journaledBlock is the content of a block in a journal.
var journaledBlock = []byte("journaled" + strings.Repeat("\x00", BlockSize-9))

// writeJournal writes to a block of an image, but only in the journal, as if its guest had
// been killed.
func writeJournal(t *testing.T, image, block string, body []byte) {
	t.Helper()
	content, err := newContentBuffer("")
	must.NoError(t, err)
	defer content.close()
	file, err := content.setBytes(body)
	must.NoError(t, err)
	f, err := os.OpenFile(image, os.O_RDWR, 0)
	must.NoError(t, err)
	defer f.Close()
	s, err := debugfs.Open(toolContext(t), f, debugfs.Options{Files: content.files()})
	must.NoError(t, err)
	defer s.Kill()
	must.NoError(t, s.Run("journal_open"))
	_, err = s.Query("journal_write", "-b", block, file)
	must.NoError(t, err)
	must.NoError(t, s.Run("journal_close"))
	must.NoError(t, s.Close())
}

// moveJournaledBlock changes the number of the block that the image's journal writes.
func moveJournaledBlock(t *testing.T, image string, number uint32) {
	t.Helper()
	content, err := os.ReadFile(image)
	must.NoError(t, err)
	// A descriptor block: the journal's magic number and the type 1, then a sequence
	// number and the first block's number, all big-endian.
	descriptor := bytes.Index(content, []byte{0xc0, 0x3b, 0x39, 0x98, 0, 0, 0, 1})
	must.Positive(t, descriptor)
	binary.BigEndian.PutUint32(content[descriptor+12:], number)
	must.NoError(t, os.WriteFile(image, content, 0o600))
}

// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shoenig/test/must"

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
	device := loopNumber(t)
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
}

// e2fsck -y uses a backup if the primary superblock has a wrong checksum.
func TestImages_DoNotUseBackupSuperblocks(t *testing.T) {
	t.Parallel()
	ctx := toolContext(t)
	image := filepath.Join(t.TempDir(), "image")
	must.NoError(t, ext4.MakeJournalInBackup(image, loopNumber(t)))
	for _, err := range []error{
		Put(ctx, Sandbox{}, image, []File{textFile("/new", "new")}), Grow(ctx, Sandbox{}, image, 64<<20),
	} {
		must.ErrorIs(t, err, ErrDamaged)
	}
}

// loopNumber returns the number of a loop device, as in a superblock, and requires that
// the test leaves the device alone.
func loopNumber(t *testing.T) uint32 {
	t.Helper()
	major, minor := testenv.UntouchedLoop(t)
	return major<<8 | minor
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

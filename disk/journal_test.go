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
	"github.com/lkl-nomad/nomad-driver-lkl/testenv/ext4"
)

// The image of a killed guest has changes in its journal. The next mount would apply them
// over those of Put.
func TestPut_ReplaysJournalFirst(t *testing.T) {
	t.Parallel()
	image := sampleImage(t)
	block := strings.Fields(runDebugfs(t, image, "blocks /etc/hosts-too"))
	must.SliceNotEmpty(t, block)
	writeJournal(t, image, block[len(block)-1])
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
	writeJournal(t, image, block[len(block)-1])
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

// writeJournal writes "journaled" to a block of an image, but only to the journal, as if
// its guest had been killed.
func writeJournal(t *testing.T, image, block string) {
	t.Helper()
	content := writeFile(t, filepath.Join(t.TempDir(), "block"), "journaled"+strings.Repeat("\x00", BlockSize-9))
	f, err := os.OpenFile(image, os.O_RDWR, 0)
	must.NoError(t, err)
	defer f.Close()
	s, err := debugfs.Open(toolContext(t), f, debugfs.Options{})
	must.NoError(t, err)
	defer s.Kill()
	must.NoError(t, s.Run("journal_open"))
	_, err = s.Query("journal_write", "-b", block, content)
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

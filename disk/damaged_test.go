// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/disk/internal/debugfs"
)

// The driver adds its advice to ErrDamaged, also if only a tool finds the damage.
func TestPut_BlamesImageForFailedCommand(t *testing.T) {
	t.Parallel()
	ctx := toolContext(t)
	image := sampleImage(t)
	f, err := os.OpenFile(image, os.O_RDWR, 0)
	must.NoError(t, err)
	defer f.Close()
	s, err := debugfs.Open(ctx, f, debugfs.Options{})
	must.NoError(t, err)
	defer s.Kill()
	// The number of the file's first block.
	must.NoError(t, s.Run("set_inode_field", "/data/kept", "block[5]", "99999999"))
	must.NoError(t, s.Close())
	err = Put(ctx, Sandbox{}, image, []File{textFile("/data/kept", "new")})
	must.ErrorIs(t, err, ErrDamaged)
	must.ErrorContains(t, err, "/data/kept")
}

func TestImages_BlameImageForFailedRepair(t *testing.T) {
	t.Parallel()
	ctx := toolContext(t)
	image := sampleImage(t)
	writeJournal(t, image, "100", journaledBlock)
	content, err := os.ReadFile(image)
	must.NoError(t, err)
	journal := bytes.Index(content, []byte{0xc0, 0x3b, 0x39, 0x98, 0, 0, 0, 4}) // superblock, version 2
	must.Positive(t, journal)
	content[journal+7] = 99 // an unknown type of block
	for name, do := range map[string]func(path string) error{
		"put":  func(path string) error { return Put(ctx, Sandbox{}, path, []File{textFile("/x", "x")}) },
		"grow": func(path string) error { return Grow(ctx, Sandbox{}, path, 64<<20) },
	} {
		path := writeFile(t, filepath.Join(t.TempDir(), "image"), string(content))
		must.ErrorIs(t, do(path), ErrDamaged, must.Sprint(name))
	}
}

// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

func TestImages_RefusesInvalidSuperblocks(t *testing.T) {
	t.Parallel()
	ctx := toolContext(t)
	sound, err := os.ReadFile(sampleImage(t))
	must.NoError(t, err)
	at := func(offset int, value uint32) []byte {
		image := append([]byte(nil), sound...)
		binary.LittleEndian.PutUint32(image[superblockOffset+offset:], value)
		return image
	}
	for name, image := range map[string][]byte{
		"truncated":            sound[:len(sound)/2],
		"many blocks":          at(0x4, 1<<31),
		"upper half of blocks": at(0x150, 1<<20),
		"block size":           at(0x18, 63),
		"few inodes":           at(0x0, 1),
		"inode size":           at(0x58, 0),
		"no groups":            at(0x20, 0),
		"unknown format":       at(0x60, 0xffff_fff0),
	} {
		path := filepath.Join(t.TempDir(), "image")
		must.NoError(t, os.WriteFile(path, image, 0o600))
		must.Error(t, Put(ctx, Sandbox{}, path, []File{textFile("/x", "x")}), must.Sprint(name))
		must.Error(t, Grow(ctx, Sandbox{}, path, 64<<20), must.Sprint(name))
	}
}

// e2fsck opens and writes the device that a superblock names as the journal.
func TestImages_RefusesExternalJournal(t *testing.T) {
	t.Parallel()
	ctx := toolContext(t)
	sound, err := os.ReadFile(sampleImage(t))
	must.NoError(t, err)
	for name, fields := range map[string]map[int]uint32{
		"journal":  {0x5c: 0x4},
		"recovery": {0x60: incompatRecover},
		"number":   {0xe4: 0x701},
		"uuid":     {0xd0: 1},
		"uuid end": {0xdc: 1},
	} {
		image := append([]byte(nil), sound...)
		fields[0xe0] = 0 // the journal's inode
		for offset, value := range fields {
			binary.LittleEndian.PutUint32(image[superblockOffset+offset:], value)
		}
		path := filepath.Join(t.TempDir(), "image")
		must.NoError(t, os.WriteFile(path, image, 0o600))
		for _, err := range []error{
			Grow(ctx, Sandbox{}, path, 64<<20), Put(ctx, Sandbox{}, path, []File{textFile("/x", "x")}),
		} {
			must.ErrorIs(t, err, ErrDamaged, must.Sprint(name))
			must.ErrorContains(t, err, "journal is on another device", must.Sprint(name))
		}
	}
}

// Every call ends in time on images with random damage, with success or an error.
func TestImages_RandomDamageDoesNotHang(t *testing.T) {
	t.Parallel()
	ctx := toolContext(t)
	sound, err := os.ReadFile(sampleImage(t))
	must.NoError(t, err)
	random := rand.New(rand.NewPCG(3, 4))
	// The first blocks contain superblock, descriptors, bitmaps, inodes and directories.
	metadata := 1 << 20
	for i := range 60 {
		image := append([]byte(nil), sound...)
		for range 1 + random.IntN(200) {
			at := superblockOffset + random.IntN(metadata)
			if i%2 == 0 { // leave the superblock and descriptors valid
				at = 2*BlockSize + random.IntN(metadata)
			}
			image[at] = byte(random.Uint32())
		}
		path := filepath.Join(t.TempDir(), "image")
		must.NoError(t, os.WriteFile(path, image, 0o600))
		bounded, cancel := context.WithTimeout(ctx, testenv.Patience)
		for name, do := range map[string]func() error{
			"put": func() error {
				return Put(bounded, Sandbox{}, path, []File{textFile("/etc/hosts", "x"), textFile("/a/b", "y")})
			},
			"grow": func() error { return Grow(bounded, Sandbox{}, path, 64<<20) },
		} {
			err := do()
			must.NoError(t, bounded.Err(), must.Sprint(i, name, err))
		}
		cancel()
	}
}

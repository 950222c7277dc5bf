// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"bytes"
	"context"
	"encoding/binary"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// withFields returns a copy of an image with other fields of the primary superblock, by
// their offsets, and the right checksum.
func withFields(image []byte, fields map[int]uint32) []byte {
	image = append([]byte(nil), image...)
	super := image[superblockOffset : superblockOffset+superblockSize]
	for offset, value := range fields {
		binary.LittleEndian.PutUint32(super[offset:], value)
	}
	return withChecksum(image)
}

// withChecksum sets the checksum of the primary superblock, if the image has one.
func withChecksum(image []byte) []byte {
	if len(image) >= superblockOffset+superblockSize {
		super := image[superblockOffset:]
		binary.LittleEndian.PutUint32(super[checksumOffset:], ^crc32.Checksum(super[:checksumOffset], castagnoli))
	}
	return image
}

// refusals returns the errors of Put and Grow on an image, and requires that they leave
// the image as it is.
func refusals(t *testing.T, image []byte) []error {
	t.Helper()
	ctx := toolContext(t)
	path := filepath.Join(t.TempDir(), "image")
	must.NoError(t, os.WriteFile(path, image, 0o600))
	errs := []error{Put(ctx, Sandbox{}, path, []File{textFile("/x", "x")}), Grow(ctx, Sandbox{}, path, 64<<20)}
	after, err := os.ReadFile(path)
	must.NoError(t, err)
	must.True(t, bytes.Equal(image, after), must.Sprint("the refused image was changed"))
	return errs
}

func TestImages_RefusesInvalidSuperblocks(t *testing.T) {
	t.Parallel()
	sound, err := os.ReadFile(sampleImage(t))
	must.NoError(t, err)
	wrongSum := append([]byte(nil), sound...)
	wrongSum[superblockOffset+checksumOffset] ^= 1
	at := func(offset int, value uint32) []byte { return withFields(sound, map[int]uint32{offset: value}) }
	descriptor := func(offset int, value byte) []byte {
		image := append([]byte(nil), sound...)
		image[BlockSize+offset] = value
		return image
	}
	for name, image := range map[string][]byte{
		"truncated":            sound[:len(sound)/2],
		"many blocks":          at(0x4, 1<<31),
		"upper half of blocks": at(0x150, 1<<20),
		"block size":           at(0x18, 63),
		"cluster size":         at(0x1c, 3),
		"first data block":     at(0x14, 1),
		"few inodes":           at(0x0, 1),
		"free inodes":          at(0x10, 1<<31), // resize2fs 1.47 crashes
		"free blocks":          at(0xc, 1<<31),
		"inode size":           at(0x58, 0),
		"first inode":          at(0x54, 3),
		"no groups":            at(0x20, 0),
		"small groups":         at(0x20, 4096),
		"no inodes in a group": at(0x28, 0),
		"many inodes":          at(0x28, 1<<30),
		"descriptor size":      at(0xfc, 24<<16),
		"reserved descriptors": at(0xcc, 0xffff<<16),
		"flexible groups":      at(0x174, 32|checksumCRC32C<<8),
		"checksum type":        at(0x174, 0),
		"journal's inode":      at(0xe0, 1<<20),
		"revision":             at(0x4c, 2),
		"wrong checksum":       wrongSum,
		"low block bitmap":     descriptor(0, 0),
		"inode table outside":  descriptor(8+2, 0x10),
	} {
		for _, err := range refusals(t, image) {
			must.ErrorIs(t, err, ErrDamaged, must.Sprint(name))
		}
	}
}

// The tools open the device that a superblock names as the journal. e2fsck writes to it.
func TestImages_RefusesExternalJournal(t *testing.T) {
	t.Parallel()
	sound, err := os.ReadFile(sampleImage(t))
	must.NoError(t, err)
	const inode, number, uuid = 0xe0, 0xe4, 0xd0
	for name, fields := range map[string]map[int]uint32{
		"journal":         {inode: 0, 0x5c: compatJournal},
		"number":          {inode: 0, number: 0x701},
		"uuid":            {inode: 0, uuid: 1},
		"end of uuid":     {inode: 0, uuid + 12: 1},
		"inode and uuid":  {inode: 8, 0x5c: compatJournal, uuid: 1},
		"uuid at the end": {inode: 8, 0x5c: compatJournal, uuid + 12: 1 << 31},
	} {
		for _, err := range refusals(t, withFields(sound, fields)) {
			must.ErrorIs(t, err, ErrFeature, must.Sprint(name))
			must.ErrorContains(t, err, "journal is on another device", must.Sprint(name))
			must.ErrorContains(t, err, "tune2fs -j", must.Sprint(name))
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

// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/shoenig/test/must"
)

func TestImages_CutShortOrAbsurdAreRefused(t *testing.T) {
	t.Parallel()
	ctx := begin(t)
	sound, err := os.ReadFile(base(t))
	must.NoError(t, err)
	at := func(offset int, value uint32) []byte {
		image := append([]byte(nil), sound...)
		binary.LittleEndian.PutUint32(image[superblockOffset+offset:], value)
		return image
	}
	for name, image := range map[string][]byte{
		"cut":            sound[:len(sound)/2],
		"many blocks":    at(0x4, 1<<31),
		"64 bits of it":  at(0x150, 1<<20),
		"block size":     at(0x18, 63),
		"few inodes":     at(0x0, 1),
		"inode size":     at(0x58, 0),
		"no groups":      at(0x20, 0),
		"unknown format": at(0x60, 0xffff_fff0),
	} {
		path := filepath.Join(t.TempDir(), "image")
		must.NoError(t, os.WriteFile(path, image, 0o600))
		must.Error(t, Put(ctx, path, []File{file("/x", "x")}), must.Sprint(name))
		must.Error(t, Check(ctx, path), must.Sprint(name))
		_, err := Get(ctx, path, "/etc/hosts")
		must.Error(t, err, must.Sprint(name))
	}
}

// e2fsck opens the device that an image names for its journal.
func TestImages_NameNoDeviceOfTheHost(t *testing.T) {
	t.Parallel()
	ctx := begin(t)
	sound, err := os.ReadFile(base(t))
	must.NoError(t, err)
	for name, words := range map[string]map[int]uint32{
		"journal":  {0x5c: 0x4},
		"recovery": {0x60: incompatRecover},
		"number":   {0xe4: 0x701},
		"uuid":     {0xd0: 1},
		"uuid end": {0xdc: 1},
	} {
		image := append([]byte(nil), sound...)
		words[0xe0] = 0 // the journal's inode
		for at, word := range words {
			binary.LittleEndian.PutUint32(image[superblockOffset+at:], word)
		}
		path := filepath.Join(t.TempDir(), "image")
		must.NoError(t, os.WriteFile(path, image, 0o600))
		_, get := Get(ctx, path, "/etc/hosts")
		for _, err := range []error{
			get, Check(ctx, path), Grow(ctx, path, 64<<20), Put(ctx, path, []File{file("/x", "x")}),
		} {
			must.ErrorIs(t, err, ErrDamaged, must.Sprint(name))
			must.ErrorContains(t, err, "journal is on another device", must.Sprint(name))
		}
	}
}

// Whatever is in an image, each call ends, and does so with an answer or an error.
func TestImages_DamagedInAnyWayDoNoHarm(t *testing.T) {
	t.Parallel()
	ctx := begin(t)
	sound, err := os.ReadFile(base(t))
	must.NoError(t, err)
	random := rand.New(rand.NewPCG(3, 4))
	// The first blocks hold superblock, descriptors, bitmaps, inodes, directories.
	metadata := 1 << 20
	for i := range 60 {
		image := append([]byte(nil), sound...)
		for range 1 + random.IntN(200) {
			at := superblockOffset + random.IntN(metadata)
			if i%2 == 0 { // the checksums of what is read first stay right
				at = 2*BlockSize + random.IntN(metadata)
			}
			image[at] = byte(random.Uint32())
		}
		path := filepath.Join(t.TempDir(), "image")
		must.NoError(t, os.WriteFile(path, image, 0o600))
		bounded, stop := context.WithTimeout(ctx, 20*time.Second)
		for name, do := range map[string]func() error{
			"get":   func() error { _, err := Get(bounded, path, "/etc/hosts"); return err },
			"check": func() error { return Check(bounded, path) },
			"put":   func() error { return Put(bounded, path, []File{file("/etc/hosts", "x"), file("/a/b", "y")}) },
			"grow":  func() error { return Grow(bounded, path, 64<<20) },
		} {
			err := do()
			must.NoError(t, bounded.Err(), must.Sprint(i, name, err))
		}
		stop()
	}
}

// A context that ends takes the tool with it.
func TestImages_ContextEndsTheTool(t *testing.T) {
	t.Parallel()
	ctx := begin(t)
	image := base(t)
	stopped, stop := context.WithCancelCause(ctx)
	img, err := openImage(image, os.O_RDONLY)
	must.NoError(t, err)
	defer img.Close()
	s, err := openSession(stopped, img.File, false)
	must.NoError(t, err)
	cause := fmt.Errorf("no longer wanted")
	stop(cause)
	_ = s.cmd.Wait()
	_, err = s.look("/etc")
	must.ErrorIs(t, err, cause)
	s.kill()
}

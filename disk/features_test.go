// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv/ext4"
)

// mke2fs makes an image of 32 MiB with the options of mke2fs(8).
func mke2fs(t testing.TB, options string) string {
	t.Helper()
	toolContext(t)
	path := filepath.Join(t.TempDir(), "image")
	must.NoError(t, ext4.Make(path, strings.Fields(options)...), must.Sprint("mke2fs ", options))
	return path
}

func TestImages_AcceptsOrdinaryFeatures(t *testing.T) {
	t.Parallel()
	for _, options := range []string{
		"",
		"-t ext2", "-t ext3", "-t ext4", "-r 0 -O none", "-O none",
		"-t ext4 -b 1024", "-t ext4 -b 2048", "-t ext4 -b 4096 -I 128", "-t ext4 -I 1024",
		"-t ext4 -g 1024", "-t ext4 -b 1024 -g 256 -G 4", "-t ext4 -O ^flex_bg -g 1024",
		"-t ext4 -O ^64bit,uninit_bg,^metadata_csum", "-t ext4 -O ^metadata_csum",
		"-t ext4 -O metadata_csum_seed,orphan_file", // the defaults of mke2fs 1.47.1
		"-t ext4 -O meta_bg,^resize_inode -g 512", "-t ext4 -O sparse_super2",
		"-t ext4 -O inline_data", "-t ext4 -O ea_inode,large_dir", "-t ext4 -O ^resize_inode",
		"-t ext4 -O fast_commit", "-t ext4 -J size=8", "-t ext4 -L label -M /mnt -E root_owner=1:2",
	} {
		t.Run(options, func(t *testing.T) {
			t.Parallel()
			image := mke2fs(t, options)
			must.NoError(t, Put(t.Context(), Sandbox{}, image, []File{textFile("/etc/hosts", "x")}))
			must.Eq(t, 1, statFile(t, image, "/etc/hosts").size)
			must.NoError(t, Grow(t.Context(), Sandbox{}, image, 48<<20))
			must.NoError(t, ext4.Check(image))
		})
	}
}

func TestImages_RefusesFeaturesOfOtherUses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ options, remedy string }{
		"mmp":         {"-t ext4 -O mmp -E mmp_update_interval=300", "tune2fs -O ^mmp"},
		"quota":       {"-t ext4 -O quota", "tune2fs -O ^quota"},
		"project":     {"-t ext4 -O project,quota", "tune2fs -O ^quota"},
		"encrypt":     {"-t ext4 -O encrypt", "mke2fs -O ^encrypt"},
		"casefold":    {"-t ext4 -O casefold", "tune2fs -O ^casefold"},
		"verity":      {"-t ext4 -O verity", "mke2fs -O ^verity"},
		"bigalloc":    {"-t ext4 -O bigalloc", "mke2fs -O ^bigalloc"},
		"journal_dev": {"-O journal_dev -b 4096", "image of that file system"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			image, err := os.ReadFile(mke2fs(t, c.options))
			must.NoError(t, err)
			for _, err := range refusals(t, image) {
				must.ErrorIs(t, err, ErrFeature)
				must.ErrorContains(t, err, c.remedy)
			}
		})
	}
}

func TestSuperblock_RefusesEachUnsupportedFeature(t *testing.T) {
	t.Parallel()
	for bit := range 32 {
		flag := uint32(1) << bit
		for class, c := range map[string]struct {
			superblock
			supported uint32
			refused   map[uint32]refusedFeature
		}{
			"incompat":  {superblock{incompat: incompatSupported | flag}, incompatSupported, incompatRefused},
			"ro_compat": {superblock{roCompat: roCompatSupported | flag}, roCompatSupported, roCompatRefused},
		} {
			err := c.checkFeatures()
			if c.supported&flag != 0 {
				must.NoError(t, err)
				continue
			}
			must.ErrorIs(t, err, ErrFeature)
			if f, known := c.refused[flag]; known {
				must.ErrorContains(t, err, "the feature "+f.name)
			} else {
				must.ErrorContains(t, err, fmt.Sprintf("the %s feature %#x", class, flag))
			}
		}
	}
}

// The remedies in the errors are right for e2fsprogs.
func TestImages_AcceptedAfterTune2fs(t *testing.T) {
	t.Parallel()
	for feature, options := range map[string]string{
		"mmp": "-t ext4 -O mmp", "quota": "-t ext4 -O quota", "project": "-t ext4 -O project,quota", "casefold": "-t ext4 -O casefold",
	} {
		image := mke2fs(t, options)
		for _, feature := range strings.Split(feature+",quota", ",") {
			out, err := exec.Command("tune2fs", "-f", "-O", "^"+feature, image).CombinedOutput()
			must.NoError(t, err, must.Sprintf("%s: %s", feature, out))
		}
		must.NoError(t, Put(t.Context(), Sandbox{}, image, []File{textFile("/x", "x")}))
	}
}

// A superblock that is accepted describes no more than the file, in values that the tools
// can compute with. Fuzz with -fuzzminimizetime 5x: minimizing its inputs takes long.
func FuzzReadSuperblock(f *testing.F) {
	for _, options := range []string{"-t ext4", "-t ext2 -b 1024", "-t ext4 -O meta_bg,^resize_inode -g 512"} {
		image, err := os.ReadFile(mke2fs(f, options))
		must.NoError(f, err)
		f.Add(image[superblockOffset:4*BlockSize], int64(len(image)))
	}
	f.Fuzz(func(t *testing.T, body []byte, size int64) {
		if size < 0 {
			return
		}
		image := append(make([]byte, superblockOffset), body...)
		s, err := readImage(bytes.NewReader(withChecksum(image)), size)
		if err != nil {
			return
		}
		must.LessEq(t, size, s.size())
		must.Positive(t, s.size())
		must.LessEq(t, maxGroups, s.groups())
		must.Positive(t, s.groups())
		must.LessEq(t, uint64(s.size()), s.groups()*uint64(s.inodesPerGroup)*uint64(s.inodeSize))
	})
}

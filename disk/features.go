// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"fmt"
	"math/bits"
)

// Features that this package looks at.
const (
	compatJournal             = 0x4
	incompatRecover           = 0x4   // the journal has to be replayed
	incompatMetaGroups        = 0x10  // some descriptors are not behind the superblock
	incompat64Bit             = 0x80  // the upper halves of the counts are valid
	incompatMMP               = 0x100 // multiple mount protection
	incompatFlexGroups        = 0x200
	roCompatMetadataChecksums = 0x400
)

// Features with which Linux 6.1 of `make lkl` can mount an image for writing and which
// e2fsprogs can change. A kernel ignores unknown features of the third class, compat.
const (
	incompatSupported = 0x2 | // filetype
		incompatRecover | incompatMetaGroups |
		0x40 | // extent
		incompat64Bit | incompatFlexGroups |
		0x400 | // ea_inode
		0x2000 | // metadata_csum_seed
		0x4000 | // large_dir
		0x8000 // inline_data
	roCompatSupported = 0x1 | // sparse_super
		0x2 | // large_file
		0x8 | // huge_file
		0x10 | // uninit_bg
		0x20 | // dir_nlink
		0x40 | // extra_isize
		roCompatMetadataChecksums |
		0x1000 | // read-only
		0x1_0000 // orphan_present
)

// A refusedFeature has the name of mke2fs(8), the reason of the refusal and the remedy.
type refusedFeature struct{ name, reason, remedy string }

const (
	noKernel = "the guest's kernel does not support it"
	rebuild  = "make the image without it (mke2fs -O ^%s)"
	turnOff  = "turn it off with `tune2fs -O ^%s`"
)

var incompatRefused = map[uint32]refusedFeature{
	0x1:         {"compression", noKernel, rebuild},
	0x8:         {"journal_dev", "it is the journal of another file system", "use the image of that file system"},
	incompatMMP: {"mmp", "a guest is the only user of its disk, and mmp delays each use", turnOff},
	0x1000:      {"dirdata", noKernel, rebuild},
	0x1_0000:    {"encrypt", noKernel, rebuild},
	0x2_0000:    {"casefold", noKernel, turnOff},
}

var roCompatRefused = map[uint32]refusedFeature{
	0x80:   {"has_snapshot", noKernel, rebuild},
	0x100:  {"quota", noKernel, turnOff},
	0x200:  {"bigalloc", "resize2fs damages such an image", rebuild},
	0x800:  {"replica", noKernel, rebuild},
	0x2000: {"project", noKernel, turnOff},
	0x4000: {"shared_blocks", noKernel, "run `e2fsck -E unshare_blocks`"},
	0x8000: {"verity", noKernel, rebuild},
}

// checkFeatures refuses images with a feature that a root disk must not have.
func (s *superblock) checkFeatures() error {
	if s.revision > 1 {
		return fmt.Errorf("unknown revision %d of the superblock: %w", s.revision, ErrDamaged)
	}
	if err := checkFeatureSet("incompat", s.incompat&^incompatSupported, incompatRefused); err != nil {
		return err
	}
	return checkFeatureSet("ro_compat", s.roCompat&^roCompatSupported, roCompatRefused)
}

// checkFeatureSet refuses the lowest of the unsupported features of a class.
func checkFeatureSet(class string, unsupported uint32, refused map[uint32]refusedFeature) error {
	if unsupported == 0 {
		return nil
	}
	bit := uint32(1) << bits.TrailingZeros32(unsupported)
	f, known := refused[bit]
	if !known {
		return fmt.Errorf("the %s feature %#x: %w: make the image with mke2fs 1.47 or older", class, bit, ErrFeature)
	}
	remedy := f.remedy
	if remedy == rebuild || remedy == turnOff {
		remedy = fmt.Sprintf(remedy, f.name)
	}
	return fmt.Errorf("the feature %s: %w, because %s: %s", f.name, ErrFeature, f.reason, remedy)
}

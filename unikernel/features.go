// SPDX-License-Identifier: MPL-2.0

package unikernel

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// Features are what a guest understands beyond the LKL guests of 2020, as a
// note in its file says: see docs/guests.md and guest/lkl/start/note.c. Without
// the note a guest has none. Bits that have no name here are of guests that
// know more than this package; nobody tells them of it.
type Features uint32

// A bit never changes its meaning.
const (
	// FeatureConfig is the command line of FlavorLKL, where an unknown key of
	// the configuration is no end of the guest.
	FeatureConfig Features = 1 << iota
	// FeatureMemory is memory of any size, in whole pages, that the guest
	// divides by itself, without lkl.KernelMemory.
	FeatureMemory
	// FeatureProgram is lkl.Config.Program.
	FeatureProgram
	// FeatureOffload is lkl.Interface.Offload.
	FeatureOffload
	// FeatureTransfer is lkl.Disk.Transfer, under spt.
	FeatureTransfer
	// FeatureFlush is lkl.Disk.Flush, under spt.
	FeatureFlush
	// FeatureFSGSBase is lkl.Config.FSGSBase, under spt.
	FeatureFSGSBase
)

// featureNames are the features' names, by bit.
var featureNames = []string{"config", "memory", "program", "offload", "transfer", "flush", "fsgsbase"}

// Has tells whether all of these are among the features.
func (f Features) Has(these Features) bool { return f&these == these }

// Names are the features' names in the order of the bits, such as "offload";
// a bit without a name is "bit 7" or the like.
func (f Features) Names() []string {
	names := []string{}
	for bit := range 32 {
		switch {
		case f&(1<<bit) == 0:
		case bit < len(featureNames):
			names = append(names, featureNames[bit])
		default:
			names = append(names, fmt.Sprintf("bit %d", bit))
		}
	}
	return names
}

// String is the names in one line.
func (f Features) String() string { return strings.Join(f.Names(), ", ") }

// features reads the note. Its descriptor is one word of bits; what follows
// that is of later guests.
func (f file) features(headers []programHeader) (Features, error) {
	b, err := f.note(headers, ownerLKL, noteLKL, lklSize, lklMaxSize)
	if err != nil || b == nil {
		return 0, err
	}
	return Features(binary.LittleEndian.Uint32(b)), nil
}

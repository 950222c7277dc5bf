// SPDX-License-Identifier: MPL-2.0

package unikernel

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// The note of a guest that lkl-cc links: see guest/lkl/start/note.c. Its
// descriptor begins with a word of bits. A second word is reserved for more bits. Then
// follow the words of Preempt. Later guests may add words.
const (
	featuresOwner   = "nomad-driver-lkl\x00"
	featuresNote    = 0x314c4b4c // "LKL1"
	featuresMinSize = 4
	featuresMaxSize = 64
	preemptOffset   = 8
	preemptEnd      = preemptOffset + 3*8
)

// Features are the capabilities of a guest beyond those of a legacy LKL guest. A
// note in its file lists them (docs/guest-reference.md). Files without the note
// have no features. Bits without a name here belong to newer guests, and nothing
// uses them.
type Features uint32

// The meaning of a bit never changes.
const (
	// FeatureConfig: the guest reads the command line of package lkl and
	// ignores unknown keys of the configuration.
	FeatureConfig Features = 1 << iota
	// FeatureMemory: the guest accepts memory of any size, in whole pages,
	// and needs no lkl.KernelMemory.
	FeatureMemory
	// FeatureProgram: the guest reads lkl.Config.Program.
	FeatureProgram
	// FeatureOffload: the guest reads lkl.Interface.Offload.
	FeatureOffload
	// FeatureTransfer: the guest reads lkl.Disk.Transfer, under spt.
	FeatureTransfer
	// FeatureFlush: the guest reads lkl.Disk.Flush, under spt.
	FeatureFlush
	// FeatureFSGSBase: the guest reads lkl.Config.FSGSBase, under spt.
	FeatureFSGSBase
	// FeatureNetwork: the guest reads lkl.Interface.Rename and
	// lkl.Config.Neighbors, and accepts an MTU of up to MaxJumboMTU.
	FeatureNetwork
	// FeatureDevices: the tender may attach devices that the manifest lacks, under spt.
	FeatureDevices
	// FeatureCommandLine: the command line may have up to cmdline.MaxLongLength bytes,
	// under spt.
	FeatureCommandLine
	// FeatureFiles: the guest mounts live directories over the net device DeviceFiles, and
	// reads mounts of the types hostfs and tmpfs.
	FeatureFiles
	// FeatureOutput: the guest reads lkl.Config.Output and lkl.Program.Name. Under spt it
	// can write its standard error apart from the console.
	FeatureOutput
	// FeaturePreempt: the tender may interrupt the guest at any time by the signal of
	// Info.Preempt, under spt.
	FeaturePreempt
)

// LiveFeatures are the features of a guest that mounts live directories.
const LiveFeatures = FeatureDevices | FeatureFiles

// featureNames holds the name of each bit.
var featureNames = []string{
	"config", "memory", "program", "offload", "transfer", "flush", "fsgsbase", "network",
	"devices", "commandline", "files", "output", "preempt",
}

// Has reports whether f includes all features in these.
func (f Features) Has(these Features) bool { return f&these == these }

// MaxMTU returns the largest MTU of a net device that a guest with these features
// supports, in bytes.
func (f Features) MaxMTU() int {
	if f.Has(FeatureNetwork) {
		return MaxJumboMTU
	}
	return MaxMTU
}

// Names returns the names of the features in the order of the bits. The name of
// an unknown bit is "bit 8" or the like.
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

// String returns the names, separated by commas.
func (f Features) String() string { return strings.Join(f.Names(), ", ") }

func (f file) features(headers []programHeader) (Features, *Preempt, error) {
	b, err := f.note(headers, featuresOwner, featuresNote, featuresMinSize, featuresMaxSize)
	if err != nil || b == nil {
		return 0, nil, err
	}
	features := Features(binary.LittleEndian.Uint32(b))
	if !features.Has(FeaturePreempt) {
		return features, nil, nil
	}
	if len(b) < preemptEnd {
		return 0, nil, fmt.Errorf("%w: the note with the features has %d bytes, but the feature preempt needs %d", ErrInvalid, len(b), preemptEnd)
	}
	p := new(Preempt)
	if _, err := binary.Decode(b[preemptOffset:], binary.LittleEndian, p); err != nil {
		return 0, nil, err
	}
	return features, p, nil
}

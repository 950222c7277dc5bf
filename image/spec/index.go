// SPDX-License-Identifier: MPL-2.0

package spec

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// The versions of the spt ABI that the driver runs, see unikernel.Info.
const (
	minABI = 1
	maxABI = 2
)

// SelectManifest chooses the image for this driver from an index: the descriptor of an
// image's manifest, or of a nested index.
//
// An image must be for linux/amd64, or for no stated platform. If annotations state its
// target and ABI, these must be supported. Of several images, the first of these differences
// decides:
//
//  1. a stated target
//  2. the higher ABI
//  3. a stated platform
//  4. an image instead of a nested index
//  5. the position in the index
//
// ErrPlatform, ErrTarget: the index has no such image. The error lists the others.
func SelectManifest(index []byte) (v1.Descriptor, error) {
	var parsed struct {
		v1.IndexManifest
		Config json.RawMessage `json:"config"`
		Layers json.RawMessage `json:"layers"`
	}
	if err := decode("index", index, &parsed); err != nil {
		return v1.Descriptor{}, err
	}
	switch {
	case isPresent(parsed.Config) || isPresent(parsed.Layers):
		// CVE-2021-41190: programs disagree on whether such a document is an index.
		return v1.Descriptor{}, invalid("the index has members of a manifest too")
	case len(parsed.Manifests) > maxIndexEntries:
		return v1.Descriptor{}, invalid("the index has %d entries, and may have %d", len(parsed.Manifests), maxIndexEntries)
	}
	var candidates, images []indexEntry
	for _, d := range parsed.Manifests {
		e := indexEntry{d}
		if e.isAttestation() {
			continue
		}
		images = append(images, e)
		if e.hasPlatform() {
			candidates = append(candidates, e)
		}
	}
	if len(candidates) == 0 {
		return v1.Descriptor{}, noPlatform(images)
	}
	runnable := slices.DeleteFunc(slices.Clone(candidates), func(e indexEntry) bool { return !e.hasTarget() })
	if len(runnable) == 0 {
		return v1.Descriptor{}, fmt.Errorf("%w: for %s/%s the index has only %s: build the image for %s",
			ErrTarget, OS, Architecture, listed(describe(candidates, indexEntry.targetText)), Target)
	}
	best := slices.MinFunc(runnable, compareEntries).Descriptor
	return best, checkDescriptor("manifest", best)
}

func noPlatform(images []indexEntry) error {
	if len(images) == 0 {
		return fmt.Errorf("%w: the index is empty: build the image again", ErrPlatform)
	}
	return fmt.Errorf("%w: the index has only %s: %s", ErrPlatform, listed(describe(images, indexEntry.platformText)), platformAdvice)
}

func describe(entries []indexEntry, text func(indexEntry) string) []string {
	var texts []string
	for _, e := range entries {
		texts = append(texts, text(e))
	}
	return texts
}

// indexEntry is a descriptor in an index.
type indexEntry struct{ v1.Descriptor }

// isAttestation reports whether BuildKit added the entry to describe another entry.
func (e indexEntry) isAttestation() bool {
	return e.Platform != nil && e.Platform.OS == "unknown" && e.Platform.Architecture == "unknown"
}

// hasPlatform reports whether the entry is an image or an index for this platform. The
// entries of nested indexes are checked later.
func (e indexEntry) hasPlatform() bool {
	if !e.MediaType.IsImage() && !e.MediaType.IsIndex() {
		return false
	}
	return e.Platform == nil || isPlatform(e.Platform.OS, e.Platform.Architecture)
}

// isPlatform reports whether the driver runs images of an operating system and an
// architecture, which may be empty.
func isPlatform(os, arch string) bool {
	return (os == "" || os == OS) && (arch == "" || arch == Architecture)
}

// hasTarget reports whether the annotations allow the image to run.
func (e indexEntry) hasTarget() bool {
	target, abi := e.Annotations[TargetLabel], e.Annotations[ABILabel]
	return (target == "" || target == Target) && (abi == "" || e.abi() != 0)
}

// abi returns the ABI version that the annotations state, or 0 for an unknown one.
func (e indexEntry) abi() int {
	n, err := strconv.Atoi(e.Annotations[ABILabel])
	if err != nil || n < minABI || n > maxABI {
		return 0
	}
	return n
}

func (e indexEntry) platformText() string {
	if e.Platform == nil {
		return "an entry of type " + string(cmp.Or(e.MediaType, types.MediaType("unknown")))
	}
	return strings.TrimSuffix(e.Platform.OS+"/"+e.Platform.Architecture+"/"+e.Platform.Variant, "/")
}

func (e indexEntry) targetText() string {
	text := cmp.Or(e.Annotations[TargetLabel], "unknown target")
	if abi := e.Annotations[ABILabel]; abi != "" {
		text += " ABI " + abi
	}
	return text
}

// compareEntries orders the better entry first.
func compareEntries(a, b indexEntry) int {
	return cmp.Or(
		compareBools(a.Annotations[TargetLabel] != "", b.Annotations[TargetLabel] != ""),
		cmp.Compare(b.abi(), a.abi()),
		compareBools(a.Platform != nil, b.Platform != nil),
		compareBools(a.MediaType.IsImage(), b.MediaType.IsImage()),
	)
}

// compareBools orders true first.
func compareBools(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	default:
		return 1
	}
}

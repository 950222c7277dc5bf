// SPDX-License-Identifier: MPL-2.0

// Package spec interprets the JSON documents of an image. It chooses a manifest from an
// index, and parses manifests and configs of Docker and OCI. It merges a config with a job's
// settings by Docker's rules.
//
// All documents are untrusted. The functions of this package are pure, bound the size of
// their results, and quote the names from a document in their errors.
package spec

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/lkl-nomad/nomad-driver-lkl/image/source"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
)

// Annotations of descriptors in an index, and labels of an image's config. `image build`
// writes both.
const (
	// TargetLabel is the Solo5 target of the kernel, such as "spt".
	TargetLabel = "org.solo5.target"
	// ABILabel is the version of the target's ABI, such as "2".
	ABILabel = "org.solo5.abi"
)

// The platform of the images that the driver runs.
const (
	OS           = "linux"
	Architecture = "amd64"
)

// platformAdvice is the remedy for an image of another platform.
const platformAdvice = "build the image for " + OS + "/" + Architecture

// Target is the Solo5 target of the kernels that the driver runs.
var Target = unikernel.TargetSPT.String()

// MaxIndexDepth is the largest number of indexes between a reference and its manifest.
const MaxIndexDepth = 3

const (
	maxIndexEntries = 1000
	maxLayers       = 256
	// maxListed is the largest number of alternatives that an error lists.
	maxListed = 10
)

// The kinds of errors by which callers decide. Errors about documents that break the rules
// of their format wrap source.ErrInvalid instead.
var (
	// ErrPlatform: the image is for another operating system or architecture.
	ErrPlatform = errors.New("no image for " + OS + "/" + Architecture)
	// ErrTarget: the annotations name another Solo5 target, or an unknown ABI.
	ErrTarget = errors.New("no image for a supported Solo5 target")
	// ErrNotImage: the manifest describes something other than an image.
	ErrNotImage = errors.New("not an image")
	// ErrNoKernel: the image and the job name no kernel.
	ErrNoKernel = errors.New("no kernel")
)

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{source.ErrInvalid}, args...)...)
}

// decode parses a document of JSON.
func decode(kind string, raw []byte, into any) error {
	if len(raw) > source.MaxManifestSize {
		return invalid("the %s has %d bytes, and may have %d", kind, len(raw), source.MaxManifestSize)
	}
	if err := json.Unmarshal(raw, into); err != nil {
		// Errors of the parsers of digests and types contain values of the document.
		return invalid("the %s is not valid JSON of this format: %s", kind, shortenedText(err.Error()))
	}
	return nil
}

// isPresent reports whether a document has a member.
func isPresent(member json.RawMessage) bool { return len(member) > 0 && string(member) != "null" }

// checkDescriptor checks the parts of a descriptor that locate and verify its content.
func checkDescriptor(kind string, d v1.Descriptor) error {
	if err := source.CheckDescriptor(d); err != nil {
		return fmt.Errorf("descriptor of the %s: %w", kind, err)
	}
	return nil
}

// listed joins values for an error message. It quotes them, removes duplicates and leaves
// out values beyond maxListed.
func listed(values []string) string {
	var quoted []string
	seen := map[string]bool{}
	for _, value := range values {
		if seen[value] {
			continue
		}
		seen[value] = true
		if len(quoted) == maxListed {
			return strings.Join(quoted, ", ") + " and others"
		}
		quoted = append(quoted, shortened(value))
	}
	return strings.Join(quoted, ", ")
}

// shortenedText returns a text that may contain values from a document. It quotes a text that
// is long or has unprintable characters.
func shortenedText(text string) string {
	const longest = 300
	if len(text) > longest {
		return fmt.Sprintf("%q…", text[:longest])
	}
	if strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return fmt.Sprintf("%q", text)
	}
	return text
}

// shortened quotes a value from a document for an error message.
func shortened(value string) string {
	const longest = 100
	if len(value) > longest {
		return fmt.Sprintf("%q…", value[:longest])
	}
	return fmt.Sprintf("%q", value)
}

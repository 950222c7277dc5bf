// SPDX-License-Identifier: MPL-2.0

package image

import (
	"fmt"
	"os"
	"strings"

	"github.com/lkl-nomad/nomad-driver-lkl/image/reference"
	"github.com/lkl-nomad/nomad-driver-lkl/image/registry"
	"github.com/lkl-nomad/nomad-driver-lkl/image/spec"
)

// A Policy says when Get contacts the registry.
type Policy string

// The policies. A digest never needs the registry once its image is cached, under any
// policy: the image cannot change. A local image has no registry: with PolicyAlways and
// PolicyMissing it is read again when it is not cached.
const (
	// PolicyMissing pulls a tag only if it is not cached.
	PolicyMissing Policy = "missing"
	// PolicyAlways asks the registry for the digest of a tag at each start, and pulls the
	// image if it is not cached. An unreachable registry is an error.
	PolicyAlways Policy = "always"
	// PolicyNever returns ErrNotCached for an image that is not cached.
	PolicyNever Policy = "never"
)

// Policies lists all policies.
var Policies = []Policy{PolicyMissing, PolicyAlways, PolicyNever}

// ListPolicies returns all policies for an error message: "missing, always or never".
func ListPolicies() string {
	var words []string
	for _, p := range Policies {
		words = append(words, string(p))
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

// A Request describes an image and the part of a job that decides on its kernel.
type Request struct {
	Reference reference.Reference
	// Local is the open file or directory of a local reference. The caller closes it
	// after Get.
	Local *os.File
	// Policy may be "": PolicyAlways for the tag latest, as in the docker driver, and
	// PolicyMissing otherwise.
	Policy Policy
	// Credentials are the job's. nil takes those of docker's configuration.
	Credentials *registry.Credentials
	// Overrides are the job's settings. Kernel, Entrypoint, Args and WorkingDir choose the
	// kernel.
	Overrides spec.Overrides
	// Progress is called by the goroutine that calls Get. It may be nil.
	Progress func(Progress)
}

// A Stage is a step of bringing in an image.
type Stage string

// The stages. A cached image has at most the first two.
const (
	StageResolving Stage = "resolving"
	// StageRetrying: an attempt at the registry has failed, and will be repeated.
	StageRetrying Stage = "retrying"
	// StageWaiting: another process, or a start with other credentials, brings in the image,
	// or this process brings in maxPulls others.
	StageWaiting     Stage = "waiting"
	StageDownloading Stage = "downloading"
	StageBuilding    Stage = "building"
)

// Progress is the state of bringing in an image.
type Progress struct {
	Stage Stage
	// Done and Total count the bytes of the layers as the registry stores them. They are 0
	// in other stages than StageDownloading.
	Done, Total int64
	// Retry describes the failed attempt of StageRetrying, on one line.
	Retry string
}

// policy returns the policy that applies.
func (r *Request) policy() (Policy, error) {
	switch r.Policy {
	case PolicyMissing, PolicyAlways, PolicyNever:
		return r.Policy, nil
	case "":
		if r.Reference.DefaultsToAlways() {
			return PolicyAlways, nil
		}
		return PolicyMissing, nil
	}
	return "", fmt.Errorf("unknown pull policy %q: use %s", r.Policy, ListPolicies())
}

func (r *Request) report(p Progress) {
	if r.Progress != nil {
		r.Progress(p)
	}
}

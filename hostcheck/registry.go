// SPDX-License-Identifier: MPL-2.0

package hostcheck

import (
	"context"
	"errors"

	"github.com/lkl-nomad/nomad-driver-lkl/image/reference"
	"github.com/lkl-nomad/nomad-driver-lkl/image/registry"
	"github.com/lkl-nomad/nomad-driver-lkl/image/source"
)

// Registries are the registries and images that the checks contact. With the zero value,
// the checks contact no registry.
type Registries struct {
	Client      *registry.Client
	Credentials *registry.Credentials // or nil
	Hosts       []string              // as in image references
	Images      []reference.Reference // of registries
}

func (r Registries) checks(group string) []Check {
	var checks []Check
	for _, host := range r.Hosts {
		checks = append(checks, Check{Group: group, Name: host, run: func(ctx context.Context) Finding {
			origin, err := r.Client.Ping(ctx, host, r.Credentials)
			switch {
			case err != nil:
				return describeRegistryError(host, err)
			case origin == "":
				return ok("answers, and asks for no credentials")
			}
			return ok("answers; login: %s", origin)
		}})
	}
	for _, image := range r.Images {
		checks = append(checks, Check{Group: group, Name: image.String(), run: func(ctx context.Context) Finding {
			s, err := r.Client.Source(image, r.Credentials)
			if err != nil {
				return failed("", "%v", err)
			}
			defer func() { _ = s.Close() }()
			d, err := s.Resolve(ctx)
			if err != nil {
				return describeRegistryError(image.Host(), err)
			}
			return ok("digest %s", d.Digest)
		}})
	}
	return checks
}

// describeRegistryError adds a command if the registry refuses the credentials.
func describeRegistryError(host string, err error) Finding {
	if errors.Is(err, source.ErrUnauthorized) {
		return failed("docker login "+host, "%v", err)
	}
	return failed("", "%v", err)
}

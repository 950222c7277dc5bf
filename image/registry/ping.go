// SPDX-License-Identifier: MPL-2.0

package registry

import (
	"context"
	"fmt"
	"net/http"

	"github.com/lkl-nomad/nomad-driver-lkl/image/reference"
)

// Ping requests the base of the registry's API, and logs in if the registry asks for it. It
// makes one attempt. host is written as in image references. The result names the origin of
// the accepted credentials; it is "" if the registry asks for no
// credentials.
func (c *Client) Ping(ctx context.Context, host string, credentials *Credentials) (origin string, err error) {
	ref, err := reference.Parse(host + "/ping")
	if err != nil || ref.Repository() != "ping" && ref.Repository() != "library/ping" {
		return "", fmt.Errorf("%q is not the host of a registry as references contain it, such as \"registry.example.com:5000\"", host)
	}
	s, err := c.open(ref, credentials, actionPing)
	if err != nil {
		return "", err
	}
	defer s.close()
	s.repo, s.scopes, s.attempts = "", nil, 1
	resp, err := s.get(ctx, purpose{what: "registry " + host}, "/v2/", nil, http.StatusOK)
	if err != nil {
		return "", err
	}
	drain(resp)
	switch l := s.usedLogin(); {
	case !s.asked:
		return "", nil
	case l.origin != "":
		return l.origin, nil
	}
	return "anonymous", nil
}

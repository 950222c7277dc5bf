// SPDX-License-Identifier: MPL-2.0

package reference

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

const (
	dockerHub = "docker.io"
	// dockerHubAlias is Docker Hub's older name, which go-containerregistry prints.
	dockerHubAlias = "index.docker.io"
)

// maxRepositoryLength is the limit of registries for the name of a repository.
const maxRepositoryLength = 255

func parseRegistry(s string) (Reference, error) {
	r := Reference{transport: Registry}
	rest, digest, hasDigest := strings.Cut(s, "@")
	if hasDigest {
		if err := checkDigest(digest); err != nil {
			return Reference{}, err
		}
		r.digest = digest
	}
	path, tag, hasTag := cutLast(rest, ":")
	if hasTag && strings.Contains(tag, "/") { // the colon belongs to a port
		path, tag, hasTag = rest, "", false
	}
	switch {
	case hasTag && tag == "":
		return Reference{}, errors.New("the tag after the colon is missing: add it, or remove the colon")
	case hasTag:
		if err := checkTag(tag); err != nil {
			return Reference{}, err
		}
		r.tag = tag
	case !hasDigest:
		r.tag = LatestTag
	}
	var err error
	if r.host, r.repo, err = splitHost(path); err != nil {
		return Reference{}, err
	}
	if err := checkRepository(r.repo); err != nil {
		return Reference{}, err
	}
	// go-containerregistry has the last word, because it makes the requests.
	if _, err := name.NewRepository(r.host+"/"+r.repo, name.StrictValidation); err != nil {
		return Reference{}, err
	}
	return r, nil
}

// splitHost returns the registry and the name of the repository in it.
func splitHost(s string) (host, repo string, err error) {
	host, repo, found := strings.Cut(s, "/")
	if !found || !strings.ContainsAny(host, ".:") && host != "localhost" {
		if found && host != strings.ToLower(host) {
			return "", "", fmt.Errorf("%q contains uppercase letters: names of repositories are lowercase, and the host of a registry contains a dot or a port", host)
		}
		host, repo = dockerHub, s
	} else if repo == "" {
		return "", "", fmt.Errorf("the name after registry %q is missing: write %q", host, host+"/NAME")
	}
	host = strings.ToLower(host)
	if err := checkHost(host); err != nil {
		return "", "", err
	}
	if host == dockerHubAlias {
		host = dockerHub
	}
	if host == dockerHub && repo != "" && !strings.Contains(repo, "/") {
		repo = "library/" + repo
	}
	return host, repo, nil
}

// checkHost accepts a name, an IPv4 address or an IPv6 address in brackets, each with or
// without a port.
func checkHost(host string) error {
	hostname := host
	if before, port, ok := cutLast(host, ":"); ok && !strings.HasSuffix(host, "]") {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || port[0] == '0' {
			return fmt.Errorf("port %q of registry %q must be a number between 1 and 65535", port, host)
		}
		hostname = before
	}
	if inner, ok := strings.CutPrefix(hostname, "["); ok {
		inner, ok = strings.CutSuffix(inner, "]")
		if ip, err := netip.ParseAddr(inner); ok && err == nil && ip.Is6() && ip.Zone() == "" {
			return nil
		}
		return fmt.Errorf("registry %q must contain an IPv6 address in its brackets", host)
	}
	for label := range strings.SplitSeq(hostname, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return fmt.Errorf("registry %q is not a valid host name", host)
		}
		for i := range len(label) {
			if c := label[i]; !isAlphanumeric(c) && c != '-' && c != '_' {
				return fmt.Errorf("registry %q is not a valid host name: it contains %q", host, c)
			}
		}
	}
	return nil
}

// checkRepository accepts the grammar of the OCI distribution specification: elements of
// lowercase letters and digits, which '.', '_', "__" or any number of '-' separate.
func checkRepository(repo string) error {
	switch {
	case repo == "":
		return errors.New("the name of the repository is missing")
	case len(repo) > maxRepositoryLength:
		return fmt.Errorf("the name of the repository has %d characters, more than %d", len(repo), maxRepositoryLength)
	case repo != strings.ToLower(repo):
		return fmt.Errorf("repository %q contains uppercase letters: names of repositories are lowercase", repo)
	}
	for element := range strings.SplitSeq(repo, "/") {
		if !isRepositoryElement(element) {
			return fmt.Errorf("repository %q is not valid: each part between slashes has lowercase letters and digits, separated by '.', '_', '__' or '-'", repo)
		}
	}
	return nil
}

func isRepositoryElement(element string) bool {
	separator := "?" // the characters since the last letter or digit
	for i := range len(element) {
		switch c := element[i]; {
		case '0' <= c && c <= '9' || 'a' <= c && c <= 'z':
			separator = ""
		case c == '-' && strings.Trim(separator, "-") == "",
			c == '_' && (separator == "" || separator == "_"),
			c == '.' && separator == "":
			separator += string(c)
		default:
			return false
		}
	}
	return separator == ""
}

func checkDigest(digest string) error {
	if !strings.HasPrefix(digest, "sha256:") {
		return fmt.Errorf(`digest %q is not supported: write "sha256:" and 64 hexadecimal digits after the @`, digest)
	}
	if _, err := v1.NewHash(digest); err != nil {
		return fmt.Errorf("digest %q is not valid: it needs 64 lowercase hexadecimal digits", digest)
	}
	return nil
}

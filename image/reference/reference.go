// SPDX-License-Identifier: MPL-2.0

// Package reference parses the names of images: references of registries as docker writes
// them, and paths of OCI layouts and archives.
package reference

import (
	"errors"
	"fmt"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
)

// A Transport is the kind of place where an image is stored.
type Transport string

// The transports. Their values are the prefixes of references.
const (
	// Registry is a registry that speaks the OCI distribution protocol.
	Registry Transport = "docker"
	// OCILayout is a directory with an OCI image layout.
	OCILayout Transport = "oci"
	// OCIArchive is a tar file that contains an OCI image layout.
	OCIArchive Transport = "oci-archive"
	// DockerArchive is a file that "docker save" wrote.
	DockerArchive Transport = "docker-archive"
)

// LatestTag is the tag of a registry reference that has neither tag nor digest.
const LatestTag = "latest"

// maxLength is the longest reference in bytes: Linux's PATH_MAX.
const maxLength = 4096

// A Reference names an image. It is comparable: references with the same String are
// equal. The zero Reference names no image.
type Reference struct {
	transport Transport
	path      string // of a local image
	host      string // of a registry, as written by people: docker.io
	repo      string // in the registry
	tag       string
	digest    string
}

// Parse reads a reference. It accepts
//
//	[docker://][HOST[:PORT]/]NAME[:TAG][@DIGEST]
//	oci:DIRECTORY[:TAG]
//	oci-archive:FILE[:TAG]
//	docker-archive:FILE[:REFERENCE]
//
// The host of a registry contains a dot or a port, or is localhost. Without a host, the
// registry is Docker Hub; a name that ends in .tar then needs a tag or docker://, because it
// is more likely a file. With a tag and a digest, the digest decides, as docker does it.
//
// A path after oci: or oci-archive: may contain colons. The tag follows the last colon, if
// no slash follows that colon. If the last element of a path contains a colon, the path must
// therefore end with a colon ("oci:/images/a:b:"). A path after docker-archive: contains no colon.
func Parse(s string) (Reference, error) {
	if s == "" {
		return Reference{}, errors.New(`the image reference is empty: name an image, such as "registry.example.com/team/app:1.0"`)
	}
	if len(s) > maxLength {
		return Reference{}, fmt.Errorf("the image reference has %d bytes, more than %d", len(s), maxLength)
	}
	if i := strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }); i >= 0 {
		return Reference{}, fmt.Errorf("image reference %q contains a control character at byte %d: remove it", s, i)
	}
	r, err := parse(s)
	if err != nil {
		return Reference{}, fmt.Errorf("image reference %q: %w", s, err)
	}
	return r, nil
}

func parse(s string) (Reference, error) {
	if rest, ok := strings.CutPrefix(s, "docker://"); ok {
		return parseRegistry(rest)
	}
	if scheme, _, ok := strings.Cut(s, "://"); ok && !strings.ContainsAny(scheme, "/:@") {
		return Reference{}, unknownScheme(scheme)
	}
	prefix, rest, _ := strings.Cut(s, ":")
	switch transport := Transport(prefix); transport {
	case OCILayout, OCIArchive:
		return parseLocal(transport, rest)
	case DockerArchive:
		return parseDockerArchive(rest)
	}
	if strings.HasPrefix(s, "/") || strings.HasPrefix(s, "./") || strings.HasPrefix(s, "../") {
		return Reference{}, errors.New(`a path needs a prefix that names its format: "oci:", "oci-archive:" or "docker-archive:"`)
	}
	r, err := parseRegistry(s)
	if err == nil && isArchiveName(s) && r.host == dockerHub {
		return Reference{}, fmt.Errorf("it looks like a file: write \"oci-archive:%[1]s\" or \"docker-archive:%[1]s\", or \"docker://%[1]s\" for an image in a registry", s)
	}
	return r, err
}

// isArchiveName reports whether s ends as the name of an archive, and has no tag, no digest
// and not the host of Docker Hub.
func isArchiveName(s string) bool {
	return strings.HasSuffix(s, ".tar") && !strings.Contains(s, ":") &&
		!strings.HasPrefix(s, dockerHub+"/") && !strings.HasPrefix(s, dockerHubAlias+"/")
}

func unknownScheme(scheme string) error {
	switch strings.ToLower(scheme) {
	case "http", "https":
		return fmt.Errorf("remove %q: an image reference has no URL scheme. For plain HTTP, set plain_http in the plugin's configuration, or use --plain-http on the command line", scheme+"://")
	case string(OCILayout), string(OCIArchive), string(DockerArchive):
		return fmt.Errorf(`write "%[1]s:PATH" instead of "%[1]s://PATH"`, scheme)
	}
	return fmt.Errorf(`unknown prefix %q: use a registry reference without a prefix, or "oci:", "oci-archive:" or "docker-archive:" with a path`, scheme+"://")
}

// Transport returns where the image is stored.
func (r Reference) Transport() Transport { return r.transport }

// IsLocal reports whether the image is a file or a directory of this host.
func (r Reference) IsLocal() bool { return r.transport != Registry && r.transport != "" }

// Path returns the path of a local image as it was written, or "".
func (r Reference) Path() string { return r.path }

// Host returns the registry's host with its port, or "" for a local image. It is
// "docker.io" for Docker Hub.
func (r Reference) Host() string { return r.host }

// Repository returns the name in the registry, such as "library/nginx", or "".
func (r Reference) Repository() string { return r.repo }

// Tag returns the tag, and "latest" for a registry reference without tag and digest. For a
// docker archive it is the reference of an image in the archive, as it was written. It is
// "" if the reference names no tag.
func (r Reference) Tag() string { return r.tag }

// Digest returns the digest of the manifest, such as "sha256:…", or "". Only a registry
// reference has one.
func (r Reference) Digest() string { return r.digest }

// IsMutable reports whether the reference can name another image later.
func (r Reference) IsMutable() bool { return r.digest == "" }

// DefaultsToAlways reports whether each start resolves the reference, unless the job has
// another policy. It is true for the tag latest, as in the docker driver, and for local
// images, which need no registry.
func (r Reference) DefaultsToAlways() bool {
	return r.IsMutable() && (r.IsLocal() || r.tag == LatestTag)
}

// Name returns the registry reference as go-containerregistry represents it, with the
// digest if there is one, or nil for a local image.
func (r Reference) Name() name.Reference {
	if r.transport != Registry {
		return nil
	}
	repo, err := name.NewRepository(r.host+"/"+r.repo, name.StrictValidation)
	if err != nil { // parseRegistry has tried it
		return nil
	}
	if r.digest != "" {
		return repo.Digest(r.digest)
	}
	return repo.Tag(r.tag)
}

// String returns the canonical form: Parse returns an equal Reference for it, and
// references of the same image name in a registry have the same form.
func (r Reference) String() string {
	switch r.transport {
	case Registry:
		s := r.host + "/" + r.repo
		if r.tag != "" {
			s += ":" + r.tag
		}
		if r.digest != "" {
			s += "@" + r.digest
		}
		return s
	case OCILayout, OCIArchive, DockerArchive:
		s := string(r.transport) + ":" + r.path
		if r.tag != "" || endsWithTag(r.path) {
			s += ":" + r.tag
		}
		return s
	}
	return ""
}

// SPDX-License-Identifier: MPL-2.0

package reference

import (
	"errors"
	"fmt"
	"strings"
)

// maxTagLength is docker's and OCI's limit of a tag.
const maxTagLength = 128

func parseLocal(transport Transport, s string) (Reference, error) {
	r := Reference{transport: transport, path: s}
	if endsWithTag(s) {
		colon := strings.LastIndexByte(s, ':')
		r.path, r.tag = s[:colon], s[colon+1:]
	}
	if r.path == "" {
		return Reference{}, fmt.Errorf(`the path is missing: write "%s:PATH"`, transport)
	}
	if r.tag == "" {
		return r, nil
	}
	if base, algorithm, ok := cutLast(r.path, "@"); ok && (algorithm == "sha256" || algorithm == "sha512") {
		return Reference{}, fmt.Errorf(`a digest cannot be given for a path: write "%s:%s", and ":TAG" if there are several images`, transport, base)
	}
	if err := checkTag(r.tag); err != nil {
		return Reference{}, fmt.Errorf("%w. The tag follows the last colon: append a colon if %q belongs to the path", err, r.tag)
	}
	return r, nil
}

// endsWithTag reports whether the last element of a path contains a colon, which splits
// off a tag.
func endsWithTag(path string) bool {
	return strings.Contains(path[strings.LastIndexByte(path, '/')+1:], ":")
}

// parseDockerArchive splits at the first colon, as skopeo does, because the reference
// after it contains colons and slashes.
func parseDockerArchive(s string) (Reference, error) {
	path, tag, _ := strings.Cut(s, ":")
	if path == "" {
		return Reference{}, errors.New(`the path is missing: write "docker-archive:FILE"`)
	}
	if tag == "" {
		return Reference{transport: DockerArchive, path: path}, nil
	}
	image, err := parseRegistry(tag)
	if err != nil {
		return Reference{}, fmt.Errorf("image %q in the archive: %w. The path ends at the first colon", tag, err)
	}
	if image.digest != "" {
		return Reference{}, fmt.Errorf("image %q in the archive: a docker archive has tags, but no digests: write NAME:TAG", tag)
	}
	return Reference{transport: DockerArchive, path: path, tag: tag}, nil
}

func checkTag(tag string) error {
	if len(tag) > maxTagLength {
		return fmt.Errorf("the tag has %d characters, more than %d", len(tag), maxTagLength)
	}
	for i := range len(tag) {
		c := tag[i]
		if !isAlphanumeric(c) && c != '_' && (i == 0 || c != '.' && c != '-') {
			return fmt.Errorf("tag %q is not valid: use letters, digits, '_', '.' and '-', and begin with a letter, a digit or '_'", tag)
		}
	}
	return nil
}

func cutLast(s, separator string) (before, after string, found bool) {
	if i := strings.LastIndex(s, separator); i >= 0 {
		return s[:i], s[i+len(separator):], true
	}
	return s, "", false
}

func isAlphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// SPDX-License-Identifier: MPL-2.0

// Package archive reads images from files: OCI layouts (a directory), OCI archives (a
// layout in a tar file) and the archives of docker save and podman save. It also writes
// layouts and OCI archives.
//
// An attacker may have made the file, and may change it while it is read. All accesses
// therefore go through the descriptor that the caller opened, and the package compares
// contents with their digests. It unpacks nothing: it keeps an index of the archive's
// entries in memory, whose size has a limit.
package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/lkl-nomad/nomad-driver-lkl/image/reference"
	"github.com/lkl-nomad/nomad-driver-lkl/image/source"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/safeopen"
)

// Names of files in a layout.
const (
	layoutName = "oci-layout"
	indexName  = "index.json"
)

// Open returns a source for one image of a file or directory, as OpenLayout, OpenOCI or
// OpenDocker does.
func Open(transport reference.Transport, f *os.File, tag string) (source.Source, error) {
	switch transport {
	case reference.OCILayout:
		return OpenLayout(f, tag)
	case reference.OCIArchive:
		return OpenOCI(f, tag)
	case reference.DockerArchive:
		return OpenDocker(f, tag)
	}
	return nil, fmt.Errorf("%w: %s is not a format of files", source.ErrInvalid, transport)
}

// OpenLayout returns a source for one image of an OCI layout. The tag may be empty if the
// layout contains one image, or one image for several platforms. The caller closes dir,
// which may be an O_PATH descriptor, after the source.
func OpenLayout(dir *os.File, tag string) (source.Source, error) {
	return openLayout(directory{dir}, dir.Name(), tag)
}

// OpenOCI returns a source for one image of an OCI archive: a layout in a tar file that is
// not compressed. It reads the headers of all entries. The tag may be empty as for
// OpenLayout. The caller closes f after the source.
func OpenOCI(f *os.File, tag string) (source.Source, error) {
	archive, err := indexTar(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name(), err)
	}
	if !archive.has(indexName) && archive.has(dockerManifestName) {
		return nil, fmt.Errorf("%w: %s is an archive of docker save: use docker-archive:%[2]s", source.ErrInvalid, f.Name())
	}
	return openLayout(archive, f.Name(), tag)
}

// OpenDocker returns a source for one image of an archive that docker save or podman save
// has made. The name, such as nginx:1.22, may be empty if the archive contains one
// image. The caller closes f after the source.
//
// Docker 25 and later write an OCI archive with an additional manifest.json. OpenDocker
// then reads the OCI archive, whose digests are those of a registry. An older archive has
// no manifest with digests of its layers. Its source makes up a manifest with the digests
// of the uncompressed layers, which the image's config contains, so that Resolve reads no
// layer. The reader of a compressed layer therefore checks its size only: the user must
// compare the digest of the decompressed layer with the config.
func OpenDocker(f *os.File, name string) (source.Source, error) {
	archive, err := indexTar(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name(), err)
	}
	if archive.has(layoutName) && archive.has(indexName) {
		return openLayout(archive, f.Name(), name)
	}
	return openDocker(archive, f.Name(), name)
}

// files gives access to the regular files of a layout or archive by their paths. Errors
// are ErrNotFound and ErrInvalid, or say why the file cannot be read.
type files interface {
	open(name string) (*content, error)
}

// content is the content of an open file.
type content struct {
	io.ReadCloser
	size int64
}

// directory is a layout on disk.
type directory struct{ *os.File }

func (d directory) open(name string) (*content, error) {
	f, err := safeopen.OpenBelow(d.File, name, os.O_RDONLY, safeopen.Regular)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%w: %w", source.ErrNotFound, err)
	case errors.Is(err, safeopen.ErrType):
		return nil, fmt.Errorf("%w: %w", source.ErrInvalid, err)
	case err != nil:
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	return &content{f, info.Size()}, nil
}

// readFile reads a small file, such as index.json.
func readFile(from files, name string) ([]byte, error) {
	f, err := from.open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if f.size > source.MaxManifestSize {
		return nil, fmt.Errorf("%w: %s has %d bytes, and the limit is %d", source.ErrInvalid, name, f.size, source.MaxManifestSize)
	}
	// The file may be growing.
	return io.ReadAll(io.LimitReader(f, source.MaxManifestSize))
}

// blobs reads the blobs of a layout.
type blobs struct{ files }

// openBlob opens the file of a descriptor whose content Verify checks.
func (b blobs) openBlob(d v1.Descriptor) (io.ReadCloser, error) {
	if err := source.CheckDescriptor(d); err != nil {
		return nil, err
	}
	f, err := b.open(path.Join("blobs", d.Digest.Algorithm, d.Digest.Hex))
	if err != nil {
		return nil, err
	}
	if f.size != d.Size {
		f.Close()
		return nil, fmt.Errorf("%w: the blob %s has %d bytes instead of %d", source.ErrInvalid, d.Digest, f.size, d.Size)
	}
	verified, err := source.Verify(f, d)
	if err != nil {
		f.Close()
		return nil, err
	}
	return verified, nil
}

func (b blobs) Blob(ctx context.Context, d v1.Descriptor) (io.ReadCloser, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return b.openBlob(d)
}

func (b blobs) Manifest(ctx context.Context, d v1.Descriptor) ([]byte, error) {
	if d.Size > source.MaxManifestSize {
		return nil, fmt.Errorf("%w: %s has %d bytes, and the limit for manifests and configs is %d",
			source.ErrInvalid, d.Digest, d.Size, source.MaxManifestSize)
	}
	r, err := b.Blob(ctx, d)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// Close does nothing: the caller owns the file.
func (b blobs) Close() error { return nil }

// maxNamesInError limits the tags that an error lists.
const maxNamesInError = 8

// list formats names for an error. An attacker may have chosen them.
func list(names []string) string {
	var quoted []string
	for i, name := range names {
		if i == maxNamesInError {
			quoted = append(quoted, "…")
			break
		}
		quoted = append(quoted, fmt.Sprintf("%.80q", name))
	}
	return strings.Join(quoted, ", ")
}

// SPDX-License-Identifier: MPL-2.0

package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"os"
	"syscall"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/image/archive"
	"github.com/lkl-nomad/nomad-driver-lkl/image/reference"
	"github.com/lkl-nomad/nomad-driver-lkl/image/source"
	"github.com/lkl-nomad/nomad-driver-lkl/image/spec"
)

// imageDocuments are the manifest and the config of an image.
type imageDocuments struct {
	descriptor v1.Descriptor // of the manifest
	manifest   *v1.Manifest
	config     *spec.ConfigFile
}

// fetchImage reads the manifest and the config that a descriptor leads to.
func fetchImage(ctx context.Context, src source.Source, d v1.Descriptor) (*imageDocuments, error) {
	var raw []byte
	for depth := 0; ; depth++ {
		if err := spec.CheckMediaType(d.MediaType); err != nil {
			return nil, err
		}
		var err error
		if raw, err = src.Manifest(ctx, d); err != nil {
			return nil, err
		}
		if !d.MediaType.IsIndex() {
			break
		}
		if depth == spec.MaxIndexDepth {
			return nil, fmt.Errorf("%w: more than %d nested indexes", source.ErrInvalid, spec.MaxIndexDepth)
		}
		if d, err = spec.SelectManifest(raw); err != nil {
			return nil, err
		}
	}
	manifest, err := spec.ParseManifest(raw, d.MediaType)
	if err != nil {
		return nil, err
	}
	rawConfig, err := src.Manifest(ctx, manifest.Config)
	if err != nil {
		return nil, err
	}
	config, err := spec.ParseConfig(rawConfig, manifest)
	if err != nil {
		return nil, err
	}
	return &imageDocuments{descriptor: d, manifest: manifest, config: config}, nil
}

// info returns the record of the image.
func (d *imageDocuments) info() imageInfo {
	return imageInfo{
		Version: formatVersion, Digest: d.descriptor.Digest.String(), MediaType: d.descriptor.MediaType,
		ManifestSize: d.descriptor.Size, LayerCount: len(d.manifest.Layers), LayerSize: d.layerSize(),
		Config: d.config.Config,
	}
}

// layerSize returns the size of all layers as they are stored.
func (d *imageDocuments) layerSize() int64 {
	var sum int64
	for _, layer := range d.manifest.Layers {
		if sum += layer.Size; sum < 0 {
			return math.MaxInt64
		}
	}
	return sum
}

// descriptor returns the descriptor of the image's manifest.
func (i *imageInfo) descriptor() v1.Descriptor {
	hash, _ := v1.NewHash(i.Digest) // the source refuses an invalid one
	return v1.Descriptor{MediaType: i.MediaType, Size: i.ManifestSize, Digest: hash}
}

// sourceKey distinguishes requests whose pulls must not be shared: those with other
// credentials or files.
func (r *Request) sourceKey() string {
	if r.Local != nil {
		if info, err := r.Local.Stat(); err == nil {
			if stat, ok := info.Sys().(*syscall.Stat_t); ok {
				return fmt.Sprintf("file %d %d", stat.Dev, stat.Ino)
			}
		}
		return "file " + r.Local.Name()
	}
	if r.Credentials == nil {
		return "default"
	}
	// The credentials themselves must not be in keys, which may appear in a memory dump.
	sum := sha256.Sum256([]byte(hexOf(r.Credentials.Username, r.Credentials.Password)))
	return hex.EncodeToString(sum[:])
}

// duplicate returns another descriptor of an open file.
func duplicate(f *os.File) (*os.File, error) {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("duplicate the descriptor of %s: %w", f.Name(), err)
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}

// openLocal opens a local image. The source closes the file.
func openLocal(ref reference.Reference, f *os.File) (source.Source, error) {
	src, err := archive.Open(ref.Transport(), f, ref.Tag())
	if err != nil {
		f.Close()
		return nil, err
	}
	return &localSource{Source: src, file: f}, nil
}

// localSource closes the file of a source.
type localSource struct {
	source.Source
	file *os.File
}

// Close closes the source and the file.
func (l *localSource) Close() error {
	err := l.Source.Close()
	l.file.Close()
	return err
}

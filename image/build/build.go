// SPDX-License-Identifier: MPL-2.0

// Package build packs a unikernel into an OCI image: one layer with the kernel, and one
// with the files of its root file system. Images with the same root share its layer in a
// registry.
//
// The same input gives the same image.
package build

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/lkl-nomad/nomad-driver-lkl/disk"
	"github.com/lkl-nomad/nomad-driver-lkl/image/archive"
	"github.com/lkl-nomad/nomad-driver-lkl/image/spec"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/safeopen"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
)

// FeaturesLabel lists the features of a guest that lkl-cc has linked, separated by commas.
const FeaturesLabel = "com.github.lkl-nomad.features"

// titleAnnotation is the name of an image for people.
const titleAnnotation = "org.opencontainers.image.title"

// Options describe an image.
type Options struct {
	// Kernel is the path of a Solo5 executable, and Name its path in the image. Name is
	// "/" and the file's name if it is empty.
	Kernel, Name string
	// Root is a directory or a tar archive, which gzip or zstd may have compressed. Empty:
	// the image has no files but the kernel.
	Root string
	// KeepOwners keeps the owners of a directory's files. Otherwise root owns them.
	KeepOwners bool
	// Config says how the kernel runs. An empty entrypoint becomes the kernel.
	Config v1.Config
	// Annotations of the manifest, in addition to the target and the ABI.
	Annotations map[string]string
	Compression Compression
	// Time is that of the image, and of files in a directory that are newer. It is usually
	// SOURCE_DATE_EPOCH.
	Time time.Time
	// SBOM is an SPDX document in JSON, or nil.
	SBOM []byte
}

// A Result is a built image.
type Result struct {
	// Image is the image without its SBOM.
	Image v1.Image
	// Complete is the image, or an index with the image and its SBOM.
	Complete archive.Manifest
	Info     *unikernel.Info // of the kernel
	layers   []*layer
}

// Close releases the layers, which are files without names.
func (r *Result) Close() {
	for _, l := range r.layers {
		l.file.Close()
	}
}

// Build makes an image. It needs temporary disk space for the compressed layers. Errors about
// the kernel's file are those of package unikernel.
func Build(ctx context.Context, o Options) (_ *Result, err error) {
	if o.Name == "" {
		o.Name = path.Base(o.Kernel)
	}
	if o.Name = path.Clean("/" + o.Name); o.Name == "/" {
		return nil, errors.New("the name of the kernel in the image is empty: set it with --name")
	}
	r := &Result{}
	defer func() {
		if err != nil {
			r.Close()
		}
	}()
	if o.Root != "" {
		if err := r.addRoot(ctx, o); err != nil {
			return nil, fmt.Errorf("root %s: %w", o.Root, err)
		}
	}
	if err := r.addKernel(ctx, o); err != nil {
		return nil, fmt.Errorf("kernel %s: %w", o.Kernel, err)
	}
	if err := o.completeConfig(r.Info); err != nil {
		return nil, err
	}
	if r.Image, err = assemble(r.layers, o); err != nil {
		return nil, err
	}
	if err := checkImage(r.Image); err != nil {
		return nil, fmt.Errorf("the driver would refuse this image: %w", err)
	}
	r.Complete = r.Image
	if o.SBOM != nil {
		r.Complete, err = withSBOM(r.Image, o)
	}
	return r, err
}

// addKernel adds the layer with the kernel.
func (r *Result) addKernel(ctx context.Context, o Options) error {
	f, err := safeopen.Open(o.Kernel, os.O_RDONLY, safeopen.Regular)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	r.Info, err = unikernel.Read(f, info.Size())
	if errors.Is(err, unikernel.ErrNotSolo5) {
		return fmt.Errorf("%w: link the program with lkl-cc, or for Solo5", err)
	}
	if err != nil {
		return err
	}
	return r.addLayer(ctx, o.Compression, func(w io.Writer) error {
		t := tar.NewWriter(w)
		err := t.WriteHeader(&tar.Header{
			Typeflag: tar.TypeReg, Name: o.Name[1:], Mode: 0o755, Size: info.Size(), ModTime: o.Time, Format: tar.FormatPAX,
		})
		if err != nil {
			return err
		}
		if _, err := io.Copy(t, io.LimitReader(f, info.Size())); err != nil {
			return err
		}
		return t.Close()
	})
}

// addRoot adds the layer with the root file system.
func (r *Result) addRoot(ctx context.Context, o Options) error {
	f, err := safeopen.Open(o.Root, os.O_RDONLY, safeopen.Regular|safeopen.Directory)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.IsDir() {
		return r.addLayer(ctx, o.Compression, func(w io.Writer) error {
			return disk.WriteTar(ctx, o.Root, w, disk.TarOptions{Newest: o.Time, KeepOwners: o.KeepOwners})
		})
	}
	return r.addLayer(ctx, o.Compression, func(w io.Writer) error {
		content, err := decompress(f)
		if err != nil {
			return err
		}
		defer content.Close()
		_, err = io.Copy(w, content)
		return err
	})
}

// addLayer adds a layer with a tar archive.
func (r *Result) addLayer(ctx context.Context, c Compression, write func(io.Writer) error) error {
	content := stream(write)
	defer content.Close()
	l, err := newLayer(ctx, content, c)
	if err == nil {
		r.layers = append(r.layers, l)
	}
	return err
}

// completeConfig sets the entrypoint, and the labels and annotations about the kernel.
func (o *Options) completeConfig(info *unikernel.Info) error {
	if len(o.Config.Entrypoint) == 0 {
		o.Config.Entrypoint = []string{o.Name}
	}
	if first := o.Config.Entrypoint[0]; path.Clean("/"+first) != o.Name {
		return fmt.Errorf("the entrypoint begins with %q: its first word must be the kernel, %q", first, o.Name)
	}
	known := map[string]string{spec.TargetLabel: info.Target.String(), spec.ABILabel: strconv.FormatUint(uint64(info.ABI), 10)}
	if info.Features != 0 {
		known[FeaturesLabel] = strings.Join(info.Features.Names(), ",")
	}
	o.Config.Labels = merge(o.Config.Labels, known)
	o.Annotations = merge(merge(map[string]string{titleAnnotation: path.Base(o.Name)}, o.Annotations), known)
	return nil
}

// merge returns the values of both maps. Those of b win.
func merge(a, b map[string]string) map[string]string {
	merged := map[string]string{}
	maps.Copy(merged, a)
	maps.Copy(merged, b)
	return merged
}

// assemble makes an image of layers.
func assemble(layers []*layer, o Options) (v1.Image, error) {
	created := v1.Time{Time: o.Time.UTC()}
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	for _, l := range layers {
		var err error
		img, err = mutate.Append(img, mutate.Addendum{
			Layer: l, MediaType: l.mediaType, History: v1.History{Created: created, CreatedBy: "image build"},
		})
		if err != nil {
			return nil, err
		}
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Created, config.Config = spec.OS, spec.Architecture, created, o.Config
	if img, err = mutate.ConfigFile(img, config); err != nil {
		return nil, err
	}
	annotated, ok := mutate.Annotations(img, o.Annotations).(v1.Image)
	if !ok {
		return nil, errors.New("annotations changed the type of the image")
	}
	return annotated, nil
}

// checkImage parses the image as the driver does. A target that the driver does not run is
// no mistake: another program may run the image.
func checkImage(img v1.Image) error {
	raw, err := img.RawManifest()
	if err != nil {
		return err
	}
	manifest, err := spec.ParseManifest(raw, types.OCIManifestSchema1)
	if err != nil {
		return err
	}
	config, err := img.RawConfigFile()
	if err != nil {
		return err
	}
	_, err = spec.ParseConfig(bytes.Clone(config), manifest)
	if errors.Is(err, spec.ErrTarget) {
		return nil
	}
	return err
}

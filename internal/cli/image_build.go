// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/lkl-nomad/nomad-driver-lkl/image/archive"
	"github.com/lkl-nomad/nomad-driver-lkl/image/build"
	"github.com/lkl-nomad/nomad-driver-lkl/image/reference"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/atomicfile"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/bytesize"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
)

const imageBuildUsage = `usage: PROGRAM image build --kernel KERNEL [--root DIR|TAR] [OPTION ...] -o OUTPUT

Packs the unikernel KERNEL, and the files of its root file system, into an OCI image.
The same input gives the same image.

OUTPUT is one of:

  oci-archive:FILE[:TAG]       an OCI image layout in a tar file
  oci:DIR[:TAG]                an OCI image layout, to which the image is added
  docker-archive:FILE[:REF]    a file for docker load, without the SBOM
  [docker://]REFERENCE         an image in a registry

Options:

  --kernel KERNEL              a Solo5 executable; the driver runs those for spt
  --root DIR|TAR               the root file system: a directory, or a tar file, plain
                               or compressed by gzip or zstd
  -o, --output OUTPUT          where to write the image
  --name PATH                  the kernel's path in the image (default /KERNEL, without
                               the directory)
  --entrypoint WORD            a word of the entrypoint; its first word must be the
                               kernel (default the kernel's path)
  --cmd WORD                   a word of the default arguments
  --env NAME=VALUE             an environment variable
  --workdir DIR                the working directory
  --user USER[:GROUP]          the user: names or numbers
  --stop-signal SIGNAL         the signal that ends the program, such as SIGQUIT
  --expose PORT[/PROTOCOL]     a port that the program listens on
  --label NAME=VALUE           a label of the image
  --annotation NAME=VALUE      an annotation of the manifest
  --compression gzip|zstd      of the layers (default gzip)
  --keep-owners                keep the owners of the files in DIR (default root)
  --sbom FILE                  attach the SPDX document FILE, in JSON (default the file
                               beside KERNEL whose name ends in .spdx.json, or a list
                               of the kernel alone)
  --no-sbom                    attach no SPDX document
  --json                       print digest, size and output as a JSON object

--entrypoint, --cmd, --env, --expose, --label and --annotation can be repeated. A value
of --entrypoint or --cmd that begins with "[" is a list in JSON, as in a Dockerfile.

Files in DIR that are newer than $SOURCE_DATE_EPOCH (default 0, which is 1970) get that
time.

` + registryUsage + `
Exit status:
  0  the image is complete
  1  a file cannot be read or written, or the registry refuses the image
  2  the command line is not valid
  3  KERNEL is not a Solo5 unikernel, or not a valid one
  4  the output cannot be written
`

// imageBuild is one run of image build.
type imageBuild struct {
	options      build.Options
	output       reference.Reference
	sbom         string
	noSBOM, json bool
	registry     registryFlags
}

// builtImage is the output of image build, and with --json its JSON object.
type builtImage struct {
	Output string `json:"output"`
	// Digest is that of the manifest, or of the index with the image and its SBOM.
	Digest string `json:"digest"`
	// ImageDigest is that of the image's manifest.
	ImageDigest string `json:"image_digest"`
	MediaType   string `json:"media_type"`
	// Size is the size of the compressed layers in bytes.
	Size   int64  `json:"size"`
	Target string `json:"target"`
	ABI    uint32 `json:"abi"`
}

// imageBuildCommand implements "image build".
func imageBuildCommand(e *Env, args []string) int {
	b := &imageBuild{}
	status, done := b.parse(e, args)
	if done {
		return status
	}
	ctx, stop := interruptible()
	defer stop()
	built, err := b.run(ctx, e)
	if err != nil {
		return e.failImage(err)
	}
	write := built.writeText
	if b.json {
		write = func(w io.Writer) error { return writeJSON(w, built) }
	}
	if err := write(e.Stdout); err != nil {
		return e.fail(exitUnwritten, err)
	}
	return exitOK
}

func (b *imageBuild) run(ctx context.Context, e *Env) (*builtImage, error) {
	var err error
	if !b.noSBOM && b.output.Transport() != reference.DockerArchive {
		if b.options.SBOM, err = b.readSBOM(); err != nil {
			return nil, err
		}
	}
	img, err := build.Build(ctx, b.options)
	if err != nil {
		return nil, err
	}
	defer img.Close()
	if target := img.Info.Target; target != unikernel.TargetSPT {
		fmt.Fprintf(e.Stderr, "%s: warning: the kernel is for the Solo5 target %s, but the driver only runs spt: link it with the spt bindings\n",
			e.Name, target)
	}
	if err := b.write(ctx, e, img); err != nil {
		return nil, err
	}
	return b.describe(img)
}

// write writes the image to the output.
func (b *imageBuild) write(ctx context.Context, e *Env, img *build.Result) error {
	path, tag := b.output.Path(), b.output.Tag()
	switch b.output.Transport() {
	case reference.OCILayout:
		return archive.WriteOCILayout(path, img.Complete, tag)
	case reference.OCIArchive:
		return writeArchive(path, func(w io.Writer) error { return archive.WriteOCIArchive(w, img.Complete, tag) })
	case reference.DockerArchive:
		return writeArchive(path, func(w io.Writer) error { return archive.WriteDockerArchive(w, img.Image, tag) })
	}
	client, err := b.registry.client([]reference.Reference{b.output})
	if err != nil {
		return err
	}
	credentials, err := b.registry.credentials(e.Stdin)
	if err != nil {
		return err
	}
	shown := newProgress(e.Stderr, b.output.String())
	defer shown.clear()
	ctx = shown.noteRetries(ctx)
	return client.Push(ctx, b.output, credentials, img.Complete, func(done, total int64) { shown.update("pushing", done, total) })
}

// writeArchive replaces a file. It does not replace a device such as /dev/stdout.
func writeArchive(path string, write func(io.Writer) error) error {
	const perm = 0o644
	info, err := os.Lstat(path)
	switch {
	case err == nil && !info.Mode().IsRegular():
		return fmt.Errorf("%s exists, and is not a regular file: name another file", path)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return atomicfile.WriteWith(path, perm, write)
}

// describe returns the properties of a built image.
func (b *imageBuild) describe(img *build.Result) (*builtImage, error) {
	d := &builtImage{Output: b.output.String(), Target: img.Info.Target.String(), ABI: img.Info.ABI}
	digest, err := img.Complete.Digest()
	if err != nil {
		return nil, err
	}
	mediaType, err := img.Complete.MediaType()
	if err != nil {
		return nil, err
	}
	imageDigest, err := img.Image.Digest()
	if err != nil {
		return nil, err
	}
	layers, err := img.Image.Layers()
	if err != nil {
		return nil, err
	}
	for _, layer := range layers {
		size, err := layer.Size()
		if err != nil {
			return nil, err
		}
		d.Size += size
	}
	d.Digest, d.ImageDigest, d.MediaType = digest.String(), imageDigest.String(), string(mediaType)
	return d, nil
}

func (d *builtImage) writeText(w io.Writer) error {
	return writeTable(w, func(line func(string, ...any)) {
		line("Image\t%s", d.Output)
		line("Digest for jobs\t%s", d.Digest)
		if d.ImageDigest != d.Digest {
			line("Manifest\t%s, without the SBOM", d.ImageDigest)
		}
		line("Target\t%s, ABI version %d", d.Target, d.ABI)
		line("Size\t%s", bytesize.Format(d.Size))
	})
}

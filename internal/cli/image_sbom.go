// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/lkl-nomad/nomad-driver-lkl/image/archive"
	"github.com/lkl-nomad/nomad-driver-lkl/image/build"
	"github.com/lkl-nomad/nomad-driver-lkl/image/reference"
	"github.com/lkl-nomad/nomad-driver-lkl/image/source"
)

const imageSBOMUsage = `usage: PROGRAM image sbom [OPTION ...] IMAGE

Prints the list of the software in an image (SBOM), an SPDX document in JSON, which
"image build" or "docker buildx build --sbom" has attached. IMAGE is a reference of a
registry, or oci:DIRECTORY[:TAG] or oci-archive:FILE[:TAG].

` + registryUsage + `
Exit status:
  0  the document was printed
  1  the image has no SBOM, or cannot be read
  2  the command line is not valid
  3  the image is not for this driver
  4  the output could not be written
`

func imageSBOMCommand(e *Env, args []string) int {
	var options registryFlags
	flags := newFlags()
	options.define(flags)
	operands, status, done := e.parse(flags, args)
	if done {
		return status
	}
	references, err := parseReferences(operands)
	if err == nil && len(references) > 1 {
		err = fmt.Errorf("exactly one IMAGE is required, %d are given", len(references))
	}
	if err = errors.Join(err, options.check()); err != nil {
		return e.usageError(err)
	}
	ctx, stop := interruptible()
	defer stop()
	document, err := readSBOM(ctx, e, &options, references[0])
	if err != nil {
		return e.failImage(fmt.Errorf("%s: %w", references[0], err))
	}
	return e.print(document)
}

// readSBOM returns the document, indented. Escapes of JSON keep control characters from
// the terminal.
func readSBOM(ctx context.Context, e *Env, options *registryFlags, ref reference.Reference) (string, error) {
	src, err := openSource(e, options, ref)
	if err != nil {
		return "", err
	}
	defer func() { _ = src.Close() }()
	document, err := build.ReadSBOM(newProgress(e.Stderr, ref.String()).noteRetries(ctx), src)
	if err != nil {
		return "", err
	}
	var indented bytes.Buffer
	err = json.Indent(&indented, document, "", "  ")
	return indented.String() + "\n", err
}

// localSource closes the file of an image after the source.
type localSource struct {
	source.Source
	file interface{ Close() error }
}

func (l localSource) Close() error { return errors.Join(l.Source.Close(), l.file.Close()) }

// openSource opens an image in a registry or in a file.
func openSource(e *Env, options *registryFlags, ref reference.Reference) (source.Source, error) {
	if !ref.IsLocal() {
		client, err := options.client([]reference.Reference{ref})
		if err != nil {
			return nil, err
		}
		credentials, err := options.credentials(e.Stdin)
		if err != nil {
			return nil, err
		}
		return client.Source(ref, credentials)
	}
	f, err := openReference(ref)
	if err != nil {
		return nil, err
	}
	src, err := archive.Open(ref.Transport(), f, ref.Tag())
	if err != nil {
		f.Close()
		return nil, err
	}
	return localSource{src, f}, nil
}

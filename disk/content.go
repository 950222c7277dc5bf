// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
)

// Content is the content of an image that is built from layers: tar archives that
// change the result of the archives before them. Paths and symlinks are resolved inside
// the content, as the guest would. The files of the host are never involved: the contents
// of files are stored in one file without a name, everything else in memory.
//
// A Content is for one goroutine at a time.
type Content struct {
	layerUnpacker
	failed error // of a layer: the content is incomplete
}

// ContentOptions limit a Content.
type ContentOptions struct {
	// Max limits the bytes of all contents of files at any time. Blocks of zeros do not
	// count. 0 means the largest size of an ext4 image.
	Max int64
}

// NewContent returns content without files. It stores the contents of files in a directory
// of the host, which should be on the file system of the image. The store is a file without
// a name, so it vanishes with the process. If the file system does not support that, a file
// whose name begins with ".lkl-" may remain after a kill.
func NewContent(dir string, o ContentOptions) (*Content, error) {
	return newContent(dir, BuildOptions{Max: o.Max})
}

func newContent(dir string, o BuildOptions) (*Content, error) {
	spool, err := newSpool(dir, o)
	if err != nil {
		return nil, err
	}
	return &Content{layerUnpacker: layerUnpacker{spool: spool, top: newDirectory()}}, nil
}

// AddLayer applies a layer of an OCI image: a tar archive, plain or compressed by gzip or
// zstd, which the layer's first bytes show. It reads r to its end, and may read ahead.
//
// An entry replaces an earlier entry of its path. A directory keeps the files of an
// existing directory. A whiteout removes files of lower layers only, wherever in its layer
// it stands: ".wh.NAME" removes NAME, and ".wh..wh..opq" removes all files of its directory.
//
// ErrArchive: the layer is damaged, or contains an entry that an image must not contain.
// ErrTooLarge: the content exceeds ContentOptions.Max, or unpacks to far more than that
// with its zeros. ErrReserve: the file system of the host has too little space. After an
// error, the content can only be closed.
func (c *Content) AddLayer(ctx context.Context, r io.Reader) error {
	return c.add(ctx, r, true)
}

// AddLayerWithDigest is AddLayer. It returns the SHA-256 of the uncompressed archive in
// hexadecimal, which the config of an image contains.
func (c *Content) AddLayerWithDigest(ctx context.Context, r io.Reader) (string, error) {
	c.digest = sha256.New()
	defer func() { c.digest = nil }()
	if err := c.AddLayer(ctx, r); err != nil {
		return "", err
	}
	return hex.EncodeToString(c.digest.Sum(nil)), nil
}

// addArchive adds a tar archive that is no layer: names of whiteouts have no meaning.
func (c *Content) addArchive(ctx context.Context, r io.Reader) error {
	return c.add(ctx, r, false)
}

func (c *Content) add(ctx context.Context, r io.Reader, whiteouts bool) error {
	if c.failed != nil {
		return c.failed
	}
	c.whiteouts = whiteouts
	if err := c.unpackLayer(ctx, r); err != nil {
		c.failed = fmt.Errorf("layer %d: %w", c.layer, err)
		if !whiteouts {
			c.failed = err
		}
	}
	return c.failed
}

// IsEmpty reports whether the content has no files at all, not even directories.
func (c *Content) IsEmpty() bool { return len(c.top.children) == 0 }

// WriteImage creates dst, which must not exist, as an ext4 image of the content. It is
// Build for a Content, and frees the contents of files as they enter the image: the content
// can only be closed afterwards.
func (c *Content) WriteImage(ctx context.Context, dst string, o BuildOptions) error {
	if err := c.writeImage(ctx, dst, o); err != nil {
		return fmt.Errorf("build an image: %w", err)
	}
	return nil
}

func (c *Content) writeImage(ctx context.Context, dst string, o BuildOptions) error {
	if c.failed != nil {
		return c.failed
	}
	c.failed = errors.New("the content has been written to an image: make new content for another image")
	root := rootContent{top: c.top, files: c.spool, spooled: c.spool.blocks * BlockSize}
	if _, err := root.measure(); err != nil {
		return fmt.Errorf("%w: %w", ErrArchive, err)
	}
	return root.writeImage(ctx, dst, o)
}

// Close frees the content.
func (c *Content) Close() error { return c.spool.Close() }

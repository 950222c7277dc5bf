// SPDX-License-Identifier: MPL-2.0

package image

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/lkl-nomad/nomad-driver-lkl/image/spec"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/atomicfile"
)

// formatVersion is the version of the records, and of the way in which entries are built.
// Another version finds no entry of this one, because the version is a part of the key.
const formatVersion = 1

// maxRecordSize bounds a record in bytes. The largest are the config of an image and the
// accounts of an entry, in which JSON can escape each byte to six.
const maxRecordSize = 8 << 20

var (
	errDamaged = errors.New("damaged")
	errVersion = errors.New("written by another version of the driver")
)

// imageInfo is the record of an image.
type imageInfo struct {
	Version      int             `json:"version"`
	Digest       string          `json:"digest"` // of the manifest
	MediaType    types.MediaType `json:"media_type"`
	ManifestSize int64           `json:"manifest_size"` // bytes
	LayerCount   int             `json:"layer_count"`
	LayerSize    int64           `json:"layer_size"` // bytes of all layers as the registry stores them
	Config       spec.Config     `json:"config"`
}

// refInfo is the record of a reference, or of the digest of an index.
type refInfo struct {
	Version   int    `json:"version"`
	Reference string `json:"reference"`
	// Target is the digest that the registry returned: of the manifest or of an index.
	Target string `json:"target"`
	// Digest is the digest of the manifest.
	Digest string `json:"digest"`
	// Resolved is the time before the registry was asked.
	Resolved time.Time `json:"resolved"`
}

// entryInfo is the record of an entry.
type entryInfo struct {
	Version    int           `json:"version"`
	Digest     string        `json:"digest"`      // of the manifest
	KernelPath string        `json:"kernel_path"` // in the image
	Kernel     fileInfo      `json:"kernel"`
	Root       *fileInfo     `json:"root,omitempty"`
	Target     string        `json:"target"`
	ABI        uint32        `json:"abi"`
	Accounts   spec.Accounts `json:"accounts"`
}

// fileInfo describes a file of an entry.
type fileInfo struct {
	Size   int64  `json:"size"`   // bytes
	Digest string `json:"digest"` // see fileDigest
}

// files returns the files of an entry by name.
func (i *entryInfo) files() map[string]fileInfo {
	files := map[string]fileInfo{kernelName: i.Kernel}
	if i.Root != nil {
		files[rootName] = *i.Root
	}
	return files
}

// nameInfo is the record of the reference with which an entry was last used. An image of a
// file has no other name, because no record of a reference leads to it.
type nameInfo struct {
	Version int    `json:"version"`
	Name    string `json:"name"`
}

// anyInfo is the part that all records have in common.
type anyInfo struct {
	Version int `json:"version"`
}

func (i *anyInfo) version() int   { return i.Version }
func (i *imageInfo) version() int { return i.Version }
func (i *refInfo) version() int   { return i.Version }
func (i *entryInfo) version() int { return i.Version }
func (i *nameInfo) version() int  { return i.Version }

// encodeRecord returns a record as JSON after a line with its SHA-256.
func encodeRecord(v any) ([]byte, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(body)
	return fmt.Appendf(nil, "%x\n%s\n", sum, body), nil
}

// writeRecord replaces a record. It survives a power loss.
func writeRecord(path string, v any) error {
	data, err := encodeRecord(v)
	if err != nil {
		return err
	}
	return atomicfile.Write(path, data, 0o600)
}

// writeRecordNoSync is writeRecord without waiting for the disk. After a power loss the
// record may be missing or damaged.
func writeRecordNoSync(path string, v any) error {
	data, err := encodeRecord(v)
	if err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return atomicfile.WriteAtNoSync(int(dir.Fd()), filepath.Base(path), data, 0o600)
}

// readRecord reads a record. errDamaged: the checksum does not match. errVersion: it has
// another version.
func readRecord(path string, into interface{ version() int }) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxRecordSize))
	if err != nil {
		return err
	}
	want, body, _ := bytes.Cut(data, []byte("\n"))
	body = bytes.TrimSuffix(body, []byte("\n"))
	sum := sha256.Sum256(body)
	name := filepath.Base(path)
	if hex.EncodeToString(sum[:]) != string(want) {
		return fmt.Errorf("%w: the checksum of %s does not match", errDamaged, name)
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("%w: %s: %w", errDamaged, name, err)
	}
	if v := into.version(); v != formatVersion {
		return fmt.Errorf("%s has the format version %d instead of %d: %w", name, v, formatVersion, errVersion)
	}
	return nil
}

// hexOf returns the SHA-256 of parts of a name, which cannot be confused.
func hexOf(parts ...string) string {
	h := sha256.New()
	for _, part := range parts {
		fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	return hex.EncodeToString(h.Sum(nil))
}

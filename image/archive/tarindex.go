// SPDX-License-Identifier: MPL-2.0

package archive

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/lkl-nomad/nomad-driver-lkl/image/source"
)

// Limits of an archive. An image has at most some hundred layers, and each takes up to
// three entries in an archive of docker save.
const (
	maxTarEntries  = 16 << 10
	maxHeaderBytes = 64 << 20 // of all headers, with the names and attributes in them
	maxNameBytes   = 4096     // of a path: PATH_MAX
	maxLinks       = 16       // that are followed for one file
)

// tarArchive is an index of the entries of a tar file.
type tarArchive struct {
	file    io.ReaderAt
	entries map[string]tarEntry
}

// tarEntry is the location of a file's content, or a link.
type tarEntry struct {
	offset, size int64
	target       string // of a link: a path in the archive
	problem      string // why the entry cannot be read
}

// compressions are the first bytes of compressed files.
var compressions = []struct{ name, magic string }{
	{"gzip", "\x1f\x8b"}, {"zstd", "\x28\xb5\x2f\xfd"}, {"xz", "\xfd7zXZ\x00"}, {"bzip2", "BZh"},
}

// indexTar reads the headers of all entries. Of entries with the same name, the last one
// counts, as for tar -x.
func indexTar(f *os.File) (*tarArchive, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return nil, fmt.Errorf("%w: it is a directory, not a tar file. Nomad unpacks an artifact unless its options have archive = false. To use an unpacked OCI image, write oci: before the directory",
			source.ErrInvalid)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%w: an archive must be a regular file", source.ErrInvalid)
	}
	return indexTarOf(f, info.Size())
}

func indexTarOf(f io.ReaderAt, size int64) (*tarArchive, error) {
	if err := checkCompression(f); err != nil {
		return nil, err
	}
	headers := &headerReader{SectionReader: io.NewSectionReader(f, 0, size)}
	archive := &tarArchive{file: f, entries: map[string]tarEntry{}}
	r := tar.NewReader(headers)
	for count := 0; ; count++ {
		h, err := r.Next()
		switch {
		case errors.Is(err, io.EOF):
			return archive, nil
		case errors.Is(err, source.ErrInvalid):
			return nil, err
		case err != nil && !errors.Is(err, tar.ErrInsecurePath):
			return nil, fmt.Errorf("%w: entry %d of the archive: %w", source.ErrInvalid, count+1, err)
		case count == maxTarEntries:
			return nil, fmt.Errorf("%w: the archive has more than %d entries", source.ErrInvalid, maxTarEntries)
		}
		// The reader has no buffer, so this is where the content starts.
		offset, err := headers.Seek(0, io.SeekCurrent)
		if err != nil {
			return nil, err
		}
		name, ok := cleanName(h.Name)
		if !ok {
			continue // no manifest can name it
		}
		archive.entries[name] = newTarEntry(h, name, offset, size)
	}
}

// newTarEntry describes an entry of an archive of a size.
func newTarEntry(h *tar.Header, name string, offset, archiveSize int64) tarEntry {
	switch h.Typeflag {
	case tar.TypeReg:
	case tar.TypeSymlink, tar.TypeLink:
		target := h.Linkname
		if h.Typeflag == tar.TypeSymlink {
			if path.IsAbs(target) {
				return tarEntry{problem: "it is an absolute symbolic link"}
			}
			target = path.Join(path.Dir(name), target)
		}
		target, ok := cleanName(target)
		if !ok {
			return tarEntry{problem: "it is a link that leads out of the archive"}
		}
		return tarEntry{target: target}
	default:
		return tarEntry{problem: fmt.Sprintf("it is not a regular file but has the type %q", h.Typeflag)}
	}
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return tarEntry{problem: "it is a sparse file"}
		}
	}
	if h.Size < 0 || offset > archiveSize || h.Size > archiveSize-offset {
		return tarEntry{problem: fmt.Sprintf("its size of %d bytes exceeds the archive: the archive is truncated", h.Size)}
	}
	return tarEntry{offset: offset, size: h.Size}
}

// cleanName normalizes a path in an archive. The result is false for paths that are not
// below the archive's root.
func cleanName(name string) (string, bool) {
	if len(name) > maxNameBytes {
		return "", false
	}
	cleaned := path.Clean(strings.TrimPrefix(name, "/"))
	return cleaned, cleaned != "." && cleaned != ".." && !strings.HasPrefix(cleaned, "../") && !path.IsAbs(cleaned)
}

func (t *tarArchive) has(name string) bool {
	_, ok := t.entries[name]
	return ok
}

// open follows links inside the archive: old versions of docker save write a symbolic link
// for a layer that is already in the archive.
func (t *tarArchive) open(name string) (*content, error) {
	current, ok := cleanName(name)
	if !ok {
		return nil, fmt.Errorf("%w: invalid path %.80q in the archive", source.ErrInvalid, name)
	}
	for range maxLinks {
		entry, ok := t.entries[current]
		switch {
		case !ok:
			return nil, fmt.Errorf("%w: the archive does not contain %.120q", source.ErrNotFound, current)
		case entry.problem != "":
			return nil, fmt.Errorf("%w: entry %.120q of the archive: %s", source.ErrInvalid, current, entry.problem)
		case entry.target == "":
			section := io.NewSectionReader(t.file, entry.offset, entry.size)
			return &content{io.NopCloser(section), entry.size}, nil
		}
		current = entry.target
	}
	return nil, fmt.Errorf("%w: entry %.120q of the archive: more than %d links", source.ErrInvalid, name, maxLinks)
}

// headerReader limits the bytes that are read. Package tar reads headers and skips the
// contents by Seek.
type headerReader struct {
	*io.SectionReader
	read int64
}

func (h *headerReader) Read(p []byte) (int, error) {
	n, err := h.SectionReader.Read(p)
	if h.read += int64(n); h.read > maxHeaderBytes {
		return 0, fmt.Errorf("%w: the headers of the archive take more than %d MiB", source.ErrInvalid, maxHeaderBytes>>20)
	}
	return n, err
}

// checkCompression refuses compressed archives: they have no random access.
func checkCompression(f io.ReaderAt) error {
	start := make([]byte, 8)
	n, err := f.ReadAt(start, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	for _, c := range compressions {
		if bytes.HasPrefix(start[:n], []byte(c.magic)) {
			return fmt.Errorf("%w: the archive is compressed with %s: decompress it first", source.ErrInvalid, c.name)
		}
	}
	return nil
}

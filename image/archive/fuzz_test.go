// SPDX-License-Identifier: MPL-2.0

package archive

import (
	"bytes"
	"os"
	"testing"

	"github.com/shoenig/test/must"
)

// FuzzArchive reads a tar file with any content as both kinds of archive. Contents that
// the sources return must have the digests of the manifest, which readAll relies on.
func FuzzArchive(f *testing.F) {
	layout := writeSeed(f)
	f.Add(layout)
	f.Add(layout[:len(layout)/2])
	f.Fuzz(func(t *testing.T, content []byte) {
		archive, err := indexTarOf(bytes.NewReader(content), int64(len(content)))
		if err != nil {
			return
		}
		for name := range archive.entries {
			file, err := archive.open(name)
			if err != nil {
				continue
			}
			must.LessEq(t, int64(len(content)), file.size)
		}
		if src, err := openLayout(archive, "archive", ""); err == nil {
			_, _, _, _ = readAll(src)
		}
		if src, err := openDocker(archive, "archive", ""); err == nil {
			_, _, _, _ = readAll(src)
		}
	})
}

// writeSeed returns an archive of docker save with links.
func writeSeed(f *testing.F) []byte {
	entries := append(dockerEntries(dockerConfig("layer a", "layer b"), "a", "b"),
		entry{name: "a", content: "layer a"}, entry{name: "b", content: compress(f, "layer b")})
	content, err := os.ReadFile(packEntries(f, entries...))
	must.NoError(f, err)
	return content
}

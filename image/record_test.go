// SPDX-License-Identifier: MPL-2.0

package image

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/image/spec"
)

// The files in testdata/formats were written by builds with formatVersion 1. They never
// change: another form of a record, or another way to build an entry, needs another version.
func TestRecords_KeepTheFormOfTheirVersion(t *testing.T) {
	must.Eq(t, 1, formatVersion)
	version := fileVersion{Dev: 64, Ino: 12, Size: 4096, Mtime: syscall.Timespec{Sec: 1795774272, Nsec: 130000000}}
	for name, c := range map[string]struct {
		want, into interface{ version() int }
	}{
		"image-v1": {&imageInfo{
			Version: 1, Digest: "sha256:e3b0c442", MediaType: types.OCIManifestSchema1, ManifestSize: 504, LayerCount: 2, LayerSize: 81920,
			Config: spec.Config{
				Entrypoint: []string{"/web.spt"}, Cmd: []string{"--port", "80"}, Env: []string{"A=1"}, WorkingDir: "/srv",
				User: "www", StopSignal: "SIGQUIT", ExposedPorts: []string{"80/tcp"}, Labels: map[string]string{"org.solo5.abi": "2"},
			},
		}, &imageInfo{}},
		"reference-v1": {&refInfo{
			Version: 1, Reference: "registry.example.com/web:1.0", Target: "sha256:4355a46b", Digest: "sha256:e3b0c442",
			Resolved: time.Date(2026, 11, 27, 10, 11, 12, 130000000, time.UTC),
		}, &refInfo{}},
		"entry-v1": {&entryInfo{
			Version: 1, Digest: "sha256:e3b0c442", KernelPath: "/web.spt", Kernel: fileInfo{Size: 4096, Digest: "a591a6d4"},
			Root: &fileInfo{Size: 1 << 26, Digest: "2c26b46b"}, Target: "spt", ABI: 2,
			Accounts: spec.Accounts{Passwd: "www:x:33:34::/srv:\n", Group: "www:x:34:\n"},
		}, &entryInfo{}},
		"verified-v1": {&verifiedInfo{
			Version: 1, BootID: "b00t\n", Files: map[string]fileVersion{kernelName: version}, Digests: map[string]string{kernelName: "a591a6d4"},
		}, &verifiedInfo{}},
		"name-v1": {&nameInfo{Version: 1, Name: "oci-archive:local/web.tar"}, &nameInfo{}},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join("testdata", "formats", name+".json")
			must.NoError(t, readRecord(path, c.into))
			must.Eq(t, c.want, c.into)
			written, err := encodeRecord(c.want)
			must.NoError(t, err)
			content, err := os.ReadFile(path)
			must.NoError(t, err)
			must.Eq(t, string(content), string(written))
		})
	}
}

// The name of an entry is a part of the format: a task finds it again after an upgrade.
func TestEntryKey_IsThatOfItsVersion(t *testing.T) {
	must.Eq(t, "ac06b9b8a0752f16d8e5e4a13aca440943115157a9bdada3ce3fc6ac33cec46e", entryKey("sha256:e3b0c442", "/web.spt"))
}

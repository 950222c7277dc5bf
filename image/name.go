// SPDX-License-Identifier: MPL-2.0

package image

import (
	"path/filepath"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/atomicfile"
)

// saveName records the reference of a start in the entry, which is pinned. The name is only
// for people: a start does not fail without the record, and does not wait for the disk.
func (e *Entry) saveName(name string) {
	if readName(filepath.Dir(e.KernelFile)) == name {
		return
	}
	data, err := encodeRecord(nameInfo{Version: formatVersion, Name: name})
	if err == nil {
		_ = atomicfile.WriteAtNoSync(int(e.dir.Fd()), nameRecord, data, 0o600)
	}
}

// readName returns the reference with which the entry in a directory was last used, or "" if
// it is not known.
func readName(dir string) string {
	var info nameInfo
	if err := readRecord(filepath.Join(dir, nameRecord), &info); err != nil {
		return ""
	}
	return info.Name
}

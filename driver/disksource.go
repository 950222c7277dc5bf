// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/hashicorp/nomad/plugins/drivers"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/procfd"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/safeopen"
)

// A diskSource is the place of a disk: a name in an open directory. Other tasks may change
// the directory.
type diskSource struct {
	dir      *os.File
	name     string // of a file in dir
	readOnly bool   // nothing may be written there
	text     string // as in the job
}

// Close closes the directory.
func (s diskSource) Close() { _ = s.dir.Close() }

// dirPath returns a path of the directory for this process.
func (s diskSource) dirPath() string { return procfd.SelfPath(s.dir) }

// A trustedRoot is a directory that Nomad or the operator has chosen. A path below it must
// not lead out of it.
type trustedRoot struct {
	path     string // on the host
	rel      string // the wanted file below it
	readOnly bool
}

// diskRoot returns the directory below which the path of a disk lies: a volume of the task,
// the alloc's directory, or one of the plugin's volumes.paths. It accesses no file.
func (v *Volumes) diskRoot(task *drivers.TaskConfig, name string) (trustedRoot, error) {
	if root, ok := findVolume(task, name); ok {
		return root, nil
	}
	source, err := v.bindSource(task, name)
	return trustedRoot{path: source.root, rel: source.path}, err
}

// findVolume returns the volume with the longest destination that contains a path.
func findVolume(task *drivers.TaskConfig, name string) (trustedRoot, bool) {
	var root trustedRoot
	longest := -1
	if !filepath.IsAbs(name) || strings.ContainsRune(name, 0) {
		return root, false
	}
	for _, m := range task.Mounts {
		rel, err := filepath.Rel(path.Join("/", m.TaskPath), filepath.Clean(name))
		if err == nil && filepath.IsLocal(rel) && len(m.TaskPath) > longest {
			root, longest = trustedRoot{path: m.HostPath, rel: rel, readOnly: m.Readonly}, len(m.TaskPath)
		}
	}
	return root, longest >= 0
}

// openDiskSource opens the directory of a disk. The disk may be missing.
func (v *Volumes) openDiskSource(task *drivers.TaskConfig, name string) (diskSource, error) {
	root, err := v.diskRoot(task, name)
	if err != nil {
		return diskSource{}, err
	}
	source := diskSource{name: filepath.Base(root.rel), readOnly: root.readOnly, text: name}
	if root.rel == "." {
		return source, fmt.Errorf("%s is the destination of a volume_mount: name a file in it", name)
	}
	rootDir, err := os.Open(root.path)
	if err != nil {
		return source, fmt.Errorf("open the directory of %s: %w", name, withoutPath(err))
	}
	defer rootDir.Close()
	source.dir, err = safeopen.OpenBelow(rootDir, filepath.Dir(root.rel), os.O_RDONLY, safeopen.Directory)
	if err != nil {
		return source, fmt.Errorf("open the directory of %s: %w", name, withoutPath(err))
	}
	return source, nil
}

// open opens the disk. It follows no symbolic link at the disk's name, and opens only a
// regular file. fs.ErrNotExist: there is no such file.
func (s diskSource) open(readOnly bool, sync string) (*os.File, error) {
	flags := os.O_RDWR
	switch {
	case readOnly:
		flags = os.O_RDONLY
	case s.readOnly:
		return nil, fmt.Errorf("%s is on a read-only volume: set read_only in the disk block, or mount the volume for writing", s.text)
	case sync == syncWriteThrough:
		flags |= unix.O_DSYNC
	}
	f, err := safeopen.OpenBelow(s.dir, s.name, flags|unix.O_NOFOLLOW, safeopen.Regular)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", s.text, withoutPath(err))
	}
	return f, nil
}

// hasDiskIn reports whether a disk of the task is in a volume.
func (t *TaskConfig) hasDiskIn(task *drivers.TaskConfig, m *drivers.MountConfig) bool {
	for _, disk := range t.Disks {
		if root, ok := findVolume(task, disk.Source); ok && root.path == m.HostPath {
			return true
		}
	}
	return false
}

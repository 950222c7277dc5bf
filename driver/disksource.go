// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/nomad/plugins/drivers"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/procfd"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/safeopen"
)

// A diskSource is the place of a disk: a name in an open directory, or a block device. Other
// tasks may change the directory.
type diskSource struct {
	dir      *os.File // nil for a block device
	device   string   // path of a block device, or ""
	name     string   // of a file in dir
	readOnly bool     // nothing may be written there
	text     string   // as in the job
}

// Close closes the directory.
func (s diskSource) Close() {
	if s.dir != nil {
		_ = s.dir.Close() // it was only read
	}
}

// dirPath returns a path of the directory for this process.
func (s diskSource) dirPath() string { return procfd.SelfPath(s.dir) }

// A trustedRoot is a directory that Nomad or the operator has chosen. A path below it must
// not lead out of it.
type trustedRoot struct {
	path     string // on the host
	rel      string // the wanted file below it
	readOnly bool
	bind     bindSource // zero: a volume of the task
}

// diskRoot returns the directory below which the path of a disk lies: a volume of the task,
// the alloc's directory, or one of the plugin's volumes.paths. It accesses no file.
func (v *Volumes) diskRoot(task *drivers.TaskConfig, name string) (trustedRoot, error) {
	if root, ok := findVolume(task, name); ok {
		return root, nil
	}
	source, err := v.bindSource(task, name)
	return trustedRoot{path: source.root, rel: source.path, bind: source}, err
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
		source.device = root.path
		return source, nil
	}
	rootDir, err := os.Open(root.path)
	if err != nil {
		return source, fmt.Errorf("open the directory of %s: %w", name, withoutPath(err))
	}
	defer rootDir.Close()
	source.dir, err = safeopen.OpenBelow(rootDir, filepath.Dir(root.rel), os.O_RDONLY, safeopen.Directory)
	if errors.Is(err, fs.ErrNotExist) {
		return source, fmt.Errorf("the directory of %s does not exist: create it, or correct source", name)
	}
	if err != nil {
		return source, fmt.Errorf("open the directory of %s: %w", name, withoutPath(err))
	}
	if err := root.bind.checkPlace(rootDir, source.dir, source.name); err != nil {
		source.Close()
		return diskSource{}, err
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
	var f *os.File
	var err error
	if s.device != "" {
		f, err = s.openDevice(flags)
	} else {
		f, err = safeopen.OpenBelow(s.dir, s.name, flags|unix.O_NOFOLLOW, safeopen.Regular)
	}
	if errors.Is(err, fs.ErrNotExist) && s.device == "" {
		return nil, err
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", s.text, withoutPath(err))
	}
	return f, nil
}

// openDevice opens a block device that Nomad or the operator has chosen as a whole. A device
// node inside a volume is refused, because a task can create nodes of any device there.
func (s diskSource) openDevice(flags int) (*os.File, error) {
	if flags&unix.O_ACCMODE != os.O_RDONLY {
		flags |= unix.O_EXCL // EBUSY if the device is mounted or part of another one
	}
	f, err := safeopen.Open(s.device, flags, safeopen.BlockDevice)
	switch {
	case errors.Is(err, safeopen.ErrType):
		return nil, fmt.Errorf("%w: name an image file in the directory", err)
	case errors.Is(err, unix.EBUSY):
		return nil, fmt.Errorf("%w: the device is mounted, or part of another device", err)
	}
	return f, err
}

// diskSources returns the paths of the disks that outlive the task: those of the disk blocks, and
// the root disk of rootfs_persist.
func (t *TaskConfig) diskSources() []string {
	var sources []string
	for _, disk := range t.Disks {
		sources = append(sources, disk.Source)
	}
	return slices.DeleteFunc(append(sources, t.RootfsPersist), func(source string) bool { return source == "" })
}

// hasDiskIn reports whether a disk of the task is in a volume.
func (t *TaskConfig) hasDiskIn(task *drivers.TaskConfig, m *drivers.MountConfig) bool {
	return slices.ContainsFunc(t.diskSources(), func(source string) bool {
		root, ok := findVolume(task, source)
		return ok && root.path == m.HostPath
	})
}

// isDisk reports whether a volume itself is a disk of the task.
func (t *TaskConfig) isDisk(task *drivers.TaskConfig, m *drivers.MountConfig) bool {
	return slices.ContainsFunc(t.diskSources(), func(source string) bool {
		root, ok := findVolume(task, source)
		return ok && root.path == m.HostPath && root.rel == "."
	})
}

// diskFiles returns those disks of the job that exist, open. A copy of the task's directories
// for a guest leaves them out.
func (d *Driver) diskFiles(j job) []*jobFile {
	var found []*jobFile
	for _, path := range j.config.diskSources() {
		source, err := d.config.Volumes.openDiskSource(j.task, path)
		if err != nil {
			continue // the start reports it elsewhere
		}
		f, err := source.open(true, "")
		source.Close()
		if err != nil {
			continue
		}
		info, err := f.Stat()
		if err != nil {
			_ = f.Close()
			continue
		}
		found = append(found, &jobFile{File: f, name: path, info: info})
	}
	return found
}

func closeAll(files []*jobFile) {
	for _, f := range files {
		_ = f.Close() // it was only read
	}
}

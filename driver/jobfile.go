// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/nomad/plugins/drivers"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/procfd"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/safeopen"
)

// A jobFile is a file or directory that a job names. It is opened once and then
// used through its descriptor only: a second lookup of the path might lead to
// another file.
type jobFile struct {
	*os.File
	name string // as in the job
	info fs.FileInfo
}

// path returns a path to the open file for processes of the same user.
func (f *jobFile) path() string {
	path := procfd.Path(f.File)
	if f.info.IsDir() {
		return path + "/." // lstat(2) then sees the directory instead of a link
	}
	return path
}

// wrap replaces the file's path in an error by its name in the job.
func (f *jobFile) wrap(err error) error {
	return &renamedError{err: err, from: strings.TrimSuffix(f.path(), "/."), to: f.name}
}

type renamedError struct {
	err      error
	from, to string
}

func (e *renamedError) Error() string {
	return strings.NewReplacer(e.from+"/.", e.to, e.from, e.to).Replace(e.err.Error())
}

func (e *renamedError) Unwrap() error { return e.err }

// taskDirNames are the names of the directories that a task sees at its root.
var taskDirNames = []string{"local", "alloc", "secrets"}

// splitTaskPath returns a job's path relative to the task directory. It returns
// false for a path of the host: an absolute path that does not begin with one of
// the task's directories.
func splitTaskPath(name string) (string, bool) {
	if !filepath.IsAbs(name) {
		return filepath.Clean(name), true
	}
	rel := strings.TrimPrefix(filepath.Clean(name), "/")
	first, _, _ := strings.Cut(rel, "/")
	return rel, slices.Contains(taskDirNames, first)
}

// checkJobPath checks a path without accessing any file.
func checkJobPath(name string) error {
	rel, ok := splitTaskPath(name)
	switch {
	case strings.ContainsRune(name, 0):
		return errors.New("contains a NUL byte, which is not allowed in a path")
	case !ok:
		return nil
	case !filepath.IsLocal(rel) || rel == ".":
		return fmt.Errorf("%q leads out of the task directory", name)
	case rel == "private" || strings.HasPrefix(rel, "private/"):
		return fmt.Errorf("%q is reserved by Nomad and not accessible to tasks", name)
	}
	return nil
}

// fileOrDirectory are the types of files that a job may name.
const fileOrDirectory = safeopen.Regular | safeopen.Directory

// openJobFile opens a regular file or directory in the task directory, or on the
// host below one of the plugin's image_paths. It does not open a file of another
// type: opening a device can have effects.
func openJobFile(task *drivers.TaskConfig, imagePaths []string, name string) (*jobFile, error) {
	f, err := openJobPath(task, imagePaths, name)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("stat %s: %w", name, withoutPath(err))
	}
	return &jobFile{File: f, name: name, info: info}, nil
}

func openJobPath(task *drivers.TaskConfig, imagePaths []string, name string) (*os.File, error) {
	rel, ok := splitTaskPath(name)
	if !ok {
		return openHostPath(imagePaths, name)
	}
	dir := task.TaskDir().Dir
	if inAlloc, ok := strings.CutPrefix(rel, "alloc/"); ok {
		// With image isolation the shared directory is not inside the task's.
		dir, rel = task.TaskDir().SharedAllocDir, inAlloc
	}
	root, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("open the task directory: %w", err)
	}
	defer root.Close()
	f, err := safeopen.OpenBelow(root, rel, os.O_RDONLY, fileOrDirectory)
	if err != nil {
		return nil, fmt.Errorf("open %s in the task directory: %w", name, withoutPath(err))
	}
	return f, nil
}

// openHostPath opens a path of the host if it lies below one of the image
// paths. The path is resolved once, to an O_PATH descriptor. The check and the
// open both use that descriptor, so that they see the same file.
func openHostPath(imagePaths []string, name string) (*os.File, error) {
	located, err := safeopen.Locate(name, 0)
	if err != nil {
		return nil, err
	}
	defer located.Close()
	resolved, err := os.Readlink(procfd.SelfPath(located))
	if err != nil {
		return nil, fmt.Errorf("resolve %s: %w", name, err)
	}
	if !isBelowAny(imagePaths, resolved) {
		if resolved != name {
			name += " (resolved to " + resolved + ")"
		}
		if len(imagePaths) == 0 {
			return nil, fmt.Errorf("%s is outside of the task directory, and image_paths in the client's plugin config is empty: add the directory of the file to it",
				name)
		}
		return nil, fmt.Errorf("%s is not below any of the image_paths in the client's plugin config (%s)",
			name, strings.Join(imagePaths, ", "))
	}
	return safeopen.Reopen(located, os.O_RDONLY, fileOrDirectory)
}

func isBelowAny(dirs []string, path string) bool {
	return slices.ContainsFunc(dirs, func(dir string) bool {
		resolved, err := filepath.EvalSymlinks(dir)
		if err != nil {
			return false
		}
		rel, err := filepath.Rel(resolved, path)
		return err == nil && filepath.IsLocal(rel)
	})
}

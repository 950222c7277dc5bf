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
	"golang.org/x/sys/unix"
)

// A source is a file or directory that a job names. It is opened once, and
// then used by its descriptor alone: a path that is looked up twice may lead
// elsewhere the second time.
type source struct {
	*os.File
	name string // in the job's words
	info fs.FileInfo
}

// path leads to the open file from any process of this user, without a walk
// through directories.
func (s *source) path() string {
	path := fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), s.Fd())
	if s.info.IsDir() {
		return path + "/." // so that lstat(2) sees the directory, not a link
	}
	return path
}

// rename has an error speak of the source as the job does.
func (s *source) rename(err error) error {
	return &renamedError{err: err, from: strings.TrimSuffix(s.path(), "/."), to: s.name}
}

type renamedError struct {
	err      error
	from, to string
}

func (e *renamedError) Error() string {
	return strings.NewReplacer(e.from+"/.", e.to, e.from, e.to).Replace(e.err.Error())
}

func (e *renamedError) Unwrap() error { return e.err }

// taskRoots are the directories that a task sees, by their names there.
var taskRoots = []string{"local", "alloc", "secrets"}

// splitTaskPath tells whether a job's path leads into the task directory, and
// where: relative paths do, and so do absolute ones as the task sees them.
func splitTaskPath(name string) (string, bool) {
	if !filepath.IsAbs(name) {
		return filepath.Clean(name), true
	}
	rel := strings.TrimPrefix(filepath.Clean(name), "/")
	first, _, _ := strings.Cut(rel, "/")
	return rel, slices.Contains(taskRoots, first)
}

// inSharedDir tells whether a job's path leads into the alloc's shared
// directory, where other tasks may write.
func inSharedDir(name string) bool {
	rel, ok := splitTaskPath(name)
	return ok && (rel == "alloc" || strings.HasPrefix(rel, "alloc/"))
}

// checkSource finds what is wrong with a job's path before looking at a file.
func checkSource(name string) error {
	rel, ok := splitTaskPath(name)
	switch {
	case strings.ContainsRune(name, 0):
		return errors.New("has a zero byte, which no path can have")
	case !ok:
		return nil
	case !filepath.IsLocal(rel) || rel == ".":
		return fmt.Errorf("%q leads out of the task directory", name)
	case rel == "private" || strings.HasPrefix(rel, "private/"):
		return fmt.Errorf("%q is Nomad's own", name)
	}
	return nil
}

// openSource opens what a job names: in the task directory, or on the host
// below one of the plugin's image_paths.
func openSource(task *drivers.TaskConfig, allowed []string, name string) (*source, error) {
	f, err := openTaskPath(task, allowed, name)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("look at %s: %w", name, err)
	}
	if !info.Mode().IsRegular() && !info.IsDir() {
		f.Close()
		return nil, fmt.Errorf("%s is neither a file nor a directory", name)
	}
	return &source{File: f, name: name, info: info}, nil
}

func openTaskPath(task *drivers.TaskConfig, allowed []string, name string) (*os.File, error) {
	rel, ok := splitTaskPath(name)
	if !ok {
		return openHost(allowed, name)
	}
	dir := task.TaskDir().Dir
	if inAlloc, ok := strings.CutPrefix(rel, "alloc/"); ok {
		// The shared directory is beside the task's, not in it, for a driver
		// with image isolation.
		dir, rel = task.TaskDir().SharedAllocDir, inAlloc
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open the task directory: %w", err)
	}
	defer root.Close()
	// Not to wait for the other end, should it be a FIFO.
	f, err := root.OpenFile(rel, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s in the task directory: %w", name, plain(err))
	}
	return f, nil
}

// openHost opens a path of the host. The path is walked once, to a descriptor
// that opens nothing yet; whether it is allowed is a question of where that
// descriptor is, and what is then read is the same file.
func openHost(allowed []string, name string) (*os.File, error) {
	fd, err := unix.Open(name, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	defer unix.Close(fd)
	self := fmt.Sprintf("/proc/self/fd/%d", fd)
	where, err := os.Readlink(self)
	if err != nil {
		return nil, fmt.Errorf("find out where %s is: %w", name, err)
	}
	if !below(allowed, where) {
		return nil, fmt.Errorf("%s is not below one of the image_paths of the client's plugin config (%s)",
			describe(name, where), strings.Join(allowed, ", "))
	}
	f, err := os.OpenFile(self, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, plain(err))
	}
	return f, nil
}

func below(allowed []string, where string) bool {
	return slices.ContainsFunc(allowed, func(dir string) bool {
		resolved, err := filepath.EvalSymlinks(dir)
		if err != nil {
			return false
		}
		rel, err := filepath.Rel(resolved, where)
		return err == nil && filepath.IsLocal(rel)
	})
}

func describe(name, where string) string {
	if name == where {
		return name
	}
	return name + ", which is " + where + ","
}

// plain is the cause of an error without the path that it was for, where the
// caller names it as the job does.
func plain(err error) error {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		return pathErr.Err
	}
	return err
}

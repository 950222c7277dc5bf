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

	"github.com/lkl-nomad/nomad-driver-lkl/internal/problems"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/procfd"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/safeopen"
)

// Volumes is the plugin's block volumes: the files of the host that jobs may mount by a block
// mount. Jobs reach the volumes of the agent by volume_mount, independent of this block.
type Volumes struct {
	Enabled bool     `codec:"enabled"`
	Paths   []string `codec:"paths"`
}

func (v *Volumes) validate(list *problems.List) {
	for i, p := range v.Paths {
		if info, err := os.Stat(p); err == nil && info.Mode().Type() == fs.ModeDevice && filepath.IsAbs(p) {
			continue // for disk blocks
		}
		checkDir(list, fmt.Sprintf("volumes.paths[%d]", i), p)
	}
	if v.Enabled && len(v.Paths) == 0 {
		list.Addf("volumes.paths", "is empty, so volumes.enabled allows nothing: list the directories of the host that jobs may mount")
	}
}

// root returns the directory of the block that contains a path of the host, or "". The
// result is the shortest one, because symbolic links do not lead out of it.
func (v *Volumes) root(name string) string {
	var found []string
	for _, dir := range v.Paths {
		if rel, err := filepath.Rel(dir, name); v.Enabled && err == nil && filepath.IsLocal(rel) {
			found = append(found, dir)
		}
	}
	if len(found) == 0 {
		return ""
	}
	return slices.MinFunc(found, func(a, b string) int { return len(a) - len(b) })
}

// A bindSource is a path below a directory that neither a job nor a guest can replace.
type bindSource struct {
	name    string // as in the job
	root    string
	path    string // relative to root
	inAlloc bool
	task    string // the name of the task's directory in the alloc's
}

// bindSource finds the directory that contains the source of a bind mount: the alloc's, or one
// of the plugin's volumes.paths. It accesses no file.
func (v *Volumes) bindSource(task *drivers.TaskConfig, name string) (bindSource, error) {
	switch {
	case name == "":
		return bindSource{}, fmt.Errorf("is missing: set it to a file or a directory, such as %q", "local/nginx.conf")
	case strings.ContainsRune(name, 0):
		return bindSource{}, errors.New("contains a NUL byte, which is not allowed in a path")
	}
	dir := task.TaskDir()
	rel, inTask := splitTaskPath(name)
	clean := filepath.Clean(name)
	if first, rest, _ := strings.Cut(rel, "/"); inTask && first == "alloc" {
		// With image isolation the shared directory is not inside the task's.
		clean = filepath.Join(dir.SharedAllocDir, rest)
	} else if inTask {
		clean = filepath.Join(dir.Dir, rel)
	}
	if rel, err := filepath.Rel(task.AllocDir, clean); err == nil && filepath.IsLocal(rel) {
		s := bindSource{name: name, root: task.AllocDir, path: rel, inAlloc: true, task: filepath.Base(dir.Dir)}
		return s, s.checkPrivate(rel)
	}
	if root := v.root(clean); root != "" {
		rel, err := filepath.Rel(root, clean)
		return bindSource{name: name, root: root, path: rel}, err
	}
	return bindSource{}, v.refuse(name)
}

func (v *Volumes) refuse(name string) error {
	if !v.Enabled {
		return fmt.Errorf("%q is outside of the alloc's directory, and this client allows no other: its plugin config does not set volumes.enabled",
			name)
	}
	return fmt.Errorf("%q is outside of the alloc's directory, and not below any of the volumes.paths in the client's plugin config (%s)",
		name, strings.Join(v.Paths, ", "))
}

// checkPrivate refuses a path in the alloc's directory that is, or contains, a directory of
// Nomad's own. The name of the task comes first in such a path.
//
// Of other tasks, only local/ is accessible. Nomad's exec driver makes a root directory of the
// other files, many of which are hard links to programs and settings of the host.
func (s bindSource) checkPrivate(rel string) error {
	task, rest, _ := strings.Cut(rel, "/")
	first, _, _ := strings.Cut(rest, "/")
	switch {
	case task == ".", rest == "" && task != "alloc":
		return fmt.Errorf("%q contains files that are reserved by Nomad: name a directory in it, such as %q", s.name, "local")
	case first == "private" && task != "alloc":
		return fmt.Errorf("%q is reserved by Nomad and not accessible to tasks", s.name)
	case task != "alloc" && task != s.task && first != "local":
		return fmt.Errorf("%q is in the directory of another task, of which only local/ is accessible: share files in alloc/", s.name)
	}
	return nil
}

// locate returns a descriptor (O_PATH) of the source. No symbolic link leads out of the root,
// even if others exchange files during the call.
func (s bindSource) locate() (*os.File, error) {
	root, err := safeopen.Locate(s.root, 0)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	f, err := safeopen.LocateBelow(root, s.path, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%q does not exist: create it before the task starts, for example by a template or a prestart task", s.name)
	}
	if err == nil {
		err = s.checkLocated(root, f)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%q: %w", s.name, withoutPath(err))
	}
	return f, nil
}

// checkLocated refuses a file that the guest cannot use, and a symbolic link to a directory of
// Nomad's own.
func (s bindSource) checkLocated(root, f *os.File) error {
	if err := fileOrDirectory.Check(f); err != nil {
		return err
	}
	return s.checkPlace(root, f, "")
}

// checkPlace refuses a name in an open directory below the alloc's directory, or with the name
// "" the open file itself, if the task must not use it. Symbolic links may have led there.
func (s bindSource) checkPlace(root, f *os.File, name string) error {
	if !s.inAlloc {
		return nil
	}
	from, err := os.Readlink(procfd.SelfPath(root))
	if err != nil {
		return err
	}
	to, err := os.Readlink(procfd.SelfPath(f))
	if err != nil {
		return err
	}
	rel, err := filepath.Rel(from, filepath.Join(to, name))
	if err != nil {
		return err
	}
	return s.checkPrivate(rel)
}

// validateVolumes checks the task's blocks volume_mount. The agent chooses their paths on the
// host.
func validateVolumes(points *mountPoints, mounts []*drivers.MountConfig) {
	for _, m := range mounts {
		points.add("volume_mount", m.TaskPath)
		switch m.PropagationMode {
		case "", "private", "host-to-task":
		case "bidirectional":
			points.list.Addf("volume_mount", "%s: propagation_mode %q is not possible, because mounts of a guest stay in the guest: use %q",
				m.TaskPath, m.PropagationMode, "host-to-task")
		default:
			points.list.Addf("volume_mount", "%s: propagation_mode %q is not one of private, host-to-task", m.TaskPath, m.PropagationMode)
		}
	}
}

// openVolume returns a mount for a volume.
func openVolume(m *drivers.MountConfig) (guestMount, error) {
	f, err := safeopen.Locate(m.HostPath, 0)
	if err == nil {
		err = fileOrDirectory.Check(f)
	}
	if err != nil {
		f.Close()
		return guestMount{}, fmt.Errorf("volume_mount: %s: %s on the host: %w", m.TaskPath, m.HostPath, withoutPath(err))
	}
	return guestMount{
		target: path.Clean(m.TaskPath), share: f, readOnly: m.Readonly, follow: m.PropagationMode == "host-to-task",
	}, nil
}

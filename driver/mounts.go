// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/nomad/plugins/drivers"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/problems"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel/lkl"
)

// MountConfig is one of a task's blocks mount. It has the options of the docker driver.
type MountConfig struct {
	Type     string        `codec:"type"`
	Target   string        `codec:"target"`
	Source   string        `codec:"source"`
	ReadOnly bool          `codec:"readonly"`
	Bind     *BindOptions  `codec:"bind_options"`
	Tmpfs    *TmpfsOptions `codec:"tmpfs_options"`
}

// BindOptions is the block bind_options.
type BindOptions struct {
	Propagation string `codec:"propagation"`
}

// TmpfsOptions is the block tmpfs_options.
type TmpfsOptions struct {
	Size int64 `codec:"size"` // bytes, or 0
	Mode int64 `codec:"mode"` // permissions, or 0
}

// The types of a block mount.
const (
	mountBind  = "bind"
	mountTmpfs = "tmpfs"
)

// The permissions and the sticky bit of a directory.
const maxDirMode = 0o7777

// validate checks a block mount.
func (m MountConfig) validate(points *mountPoints, field string, plugin *Config, task *drivers.TaskConfig) {
	points.add(field+".target", m.Target)
	list := points.list
	switch m.Type {
	case mountBind:
		if _, err := plugin.Volumes.bindSource(task, m.Source); err != nil {
			list.Addf(field+".source", "%w", err)
		}
		m.Bind.validate(list, field)
	case mountTmpfs:
		if m.Source != "" {
			list.Addf(field+".source", "is set, but a tmpfs has none: remove it, or set type to %q", mountBind)
		}
		m.Tmpfs.validate(list, field)
	case "volume":
		list.Addf(field+".type", "%q is a volume of the docker daemon: use the blocks volume and volume_mount of Nomad, or type %q",
			m.Type, mountBind)
	case "":
		list.Addf(field+".type", "is missing: set it to %q or %q", mountBind, mountTmpfs)
	default:
		list.Addf(field+".type", "%q is not one of %s, %s", m.Type, mountBind, mountTmpfs)
	}
	if m.Bind != nil && m.Type == mountTmpfs {
		list.Addf(field+".bind_options", "is set for a tmpfs: remove it")
	}
	if m.Tmpfs != nil && m.Type == mountBind {
		list.Addf(field+".tmpfs_options", "is set for a bind mount: remove it")
	}
}

func (b *BindOptions) validate(list *problems.List, field string) {
	if b == nil {
		return
	}
	switch b.Propagation {
	case "", "private", "rprivate", "slave", "rslave":
	case "shared", "rshared":
		list.Addf(field+".bind_options.propagation", "%q is not possible, because mounts of a guest stay in the guest: use %q",
			b.Propagation, "rslave")
	default:
		list.Addf(field+".bind_options.propagation", "%q is not one of private, rprivate, slave, rslave", b.Propagation)
	}
}

// follows reports whether the guest sees mounts that appear on the host later.
func (b *BindOptions) follows() bool { return b != nil && strings.HasSuffix(b.Propagation, "slave") }

func (t *TmpfsOptions) validate(list *problems.List, field string) {
	if t == nil {
		return
	}
	if t.Size < 0 {
		list.Addf(field+".tmpfs_options.size", "%d is negative: set it to a number of bytes", t.Size)
	}
	if t.Mode < 0 || t.Mode > maxDirMode {
		list.Addf(field+".tmpfs_options.mode", "%d is not between 0 and %d, which is 07777 in octal", t.Mode, maxDirMode)
	}
}

// options returns the mount options of a tmpfs.
func (t *TmpfsOptions) options() []string {
	var options []string
	if t != nil && t.Size > 0 {
		options = append(options, "size="+strconv.FormatInt(t.Size, 10))
	}
	if t != nil && t.Mode > 0 {
		options = append(options, "mode="+strconv.FormatInt(t.Mode, 8))
	}
	return options
}

// mountPoints checks the mount points of a task.
type mountPoints struct {
	list   *problems.List
	fields map[string]string // by mount point
}

func newMountPoints(list *problems.List) *mountPoints {
	return &mountPoints{list: list, fields: map[string]string{}}
}

// add checks the mount point that a field names.
func (p *mountPoints) add(field, target string) {
	if err := lkl.CheckMountPath(target); err != nil {
		p.list.Addf(field, "%w", err)
		return
	}
	clean := path.Clean(target)
	if slices.Contains(taskMountPoints, clean) {
		p.list.Addf(field, "%q conflicts with %s, which every guest has: use another path", target, clean)
		return
	}
	if other, ok := p.fields[clean]; ok {
		p.list.Addf(field, "%q is the mount point of another %s: use another path", target, other)
		return
	}
	p.fields[clean], _, _ = strings.Cut(field, "[")
}

// validateMounts checks everything that the job mounts in the guest.
func (t *TaskConfig) validateMounts(list *problems.List, plugin *Config, task *drivers.TaskConfig) {
	points := newMountPoints(list)
	validateVolumes(points, task.Mounts)
	for i, m := range t.Mounts {
		m.validate(points, fmt.Sprintf("mount[%d]", i), plugin, task)
	}
	t.validateDisks(points, plugin, task)
	t.validateDiskFiles(list)
}

// sortMounts sorts mounts so that a mount follows those that contain its mount point.
func sortMounts(mounts []lkl.Mount) {
	slices.SortStableFunc(mounts, func(a, b lkl.Mount) int { return strings.Count(a.Path, "/") - strings.Count(b.Path, "/") })
}

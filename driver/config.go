// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/nomad/plugins/drivers"
)

// DefaultStateDir is where a plugin without state_dir keeps its tasks.
const DefaultStateDir = "/var/lib/nomad-driver-lkl"

// Config is the plugin's block in the agent's configuration.
type Config struct {
	StateDir      string   `codec:"state_dir"`
	ImagePaths    []string `codec:"image_paths"`
	AllowExecHeap bool     `codec:"allow_exec_heap"`
}

// errConfig is what every mistake in a configuration is.
var errConfig = errors.New("config")

// mistakes collects what is wrong with a configuration, by field.
type mistakes struct {
	where string // "plugin" or "task"
	list  []string
}

func (m *mistakes) add(field, format string, args ...any) {
	m.list = append(m.list, field+": "+fmt.Sprintf(format, args...))
}

// err is nil without a mistake. It is one line, since Nomad shows it in one.
func (m *mistakes) err() error {
	if len(m.list) == 0 {
		return nil
	}
	return fmt.Errorf("%s %w: %s", m.where, errConfig, strings.Join(m.list, "; "))
}

// validate finds every mistake in the plugin's configuration.
func (c *Config) validate() error {
	m := &mistakes{where: "plugin"}
	if !filepath.IsAbs(c.StateDir) {
		m.add("state_dir", "%q is not an absolute path", c.StateDir)
	} else if info, err := os.Stat(c.StateDir); err == nil && !info.IsDir() {
		m.add("state_dir", "%s is not a directory", c.StateDir)
	}
	for i, p := range c.ImagePaths {
		field := fmt.Sprintf("image_paths[%d]", i)
		if !filepath.IsAbs(p) {
			m.add(field, "%q is not an absolute path", p)
			continue
		}
		if info, err := os.Stat(p); err == nil && !info.IsDir() {
			m.add(field, "%s is not a directory", p)
		}
	}
	return m.err()
}

// TaskConfig is the config block of a task.
type TaskConfig struct {
	Kernel     string   `codec:"kernel"`
	Rootfs     string   `codec:"rootfs"`
	RootfsSize string   `codec:"rootfs_size"`
	RootfsSync string   `codec:"rootfs_sync"`
	Args       []string `codec:"args"`
	Flavor     string   `codec:"flavor"`
	Tender     string   `codec:"tender"`
	ExecHeap   bool     `codec:"exec_heap"`
	HugePages  bool     `codec:"huge_pages"`
	Ports      []string `codec:"ports"`
	WorkDir    string   `codec:"work_dir"`
}

const auto = "auto"

var (
	flavors = []string{auto, "lkl", "solo5"}
	tenders = []string{auto, "spt"}
	syncs   = []string{syncNone, syncFlush, syncWriteThrough}
)

// The values of rootfs_sync.
const (
	syncNone         = "none"
	syncFlush        = "flush"
	syncWriteThrough = "write-through"
)

// validate finds every mistake that can be seen without looking at a file.
func (t *TaskConfig) validate(plugin *Config, task *drivers.TaskConfig) error {
	m := &mistakes{where: "task"}
	if t.Kernel == "" {
		m.add("kernel", "is missing: name the unikernel, such as %q", "local/web.spt")
	} else if err := checkSource(t.Kernel); err != nil {
		m.add("kernel", "%v", err)
	}
	t.validateRootfs(m)
	for i, arg := range t.Args {
		if strings.ContainsRune(arg, 0) {
			m.add(fmt.Sprintf("args[%d]", i), "has a zero byte, which no argument can carry")
		}
	}
	oneOf(m, "flavor", t.Flavor, flavors)
	oneOf(m, "tender", t.Tender, tenders)
	if t.ExecHeap && !plugin.AllowExecHeap {
		m.add("exec_heap", "is not allowed on this client: its plugin config lacks allow_exec_heap = true")
	}
	if t.WorkDir != "" && !path.IsAbs(t.WorkDir) {
		m.add("work_dir", "%q is not an absolute path in the guest, such as %q", t.WorkDir, "/srv")
	}
	t.validatePorts(m, task)
	validateTask(m, task)
	return m.err()
}

func (t *TaskConfig) validateRootfs(m *mistakes) {
	if t.Rootfs != "" {
		if err := checkSource(t.Rootfs); err != nil {
			m.add("rootfs", "%v", err)
		}
	}
	oneOf(m, "rootfs_sync", t.RootfsSync, syncs)
	if t.Rootfs == "" && (t.RootfsSync == syncFlush || t.RootfsSync == syncWriteThrough) {
		m.add("rootfs_sync", "is set without a rootfs")
	}
	if t.RootfsSize == "" {
		return
	}
	if _, err := parseSize(t.RootfsSize); err != nil {
		m.add("rootfs_size", "%v", err)
	}
	if t.Rootfs == "" {
		m.add("rootfs_size", "is set without a rootfs")
	}
}

func (t *TaskConfig) validatePorts(m *mistakes, task *drivers.TaskConfig) {
	var labels []string
	if task.Resources != nil && task.Resources.Ports != nil {
		for _, p := range *task.Resources.Ports {
			labels = append(labels, p.Label)
		}
	}
	known := "has no ports"
	if len(labels) > 0 {
		known = "has " + strings.Join(labels, ", ")
	}
	for i, label := range t.Ports {
		switch field := fmt.Sprintf("ports[%d]", i); {
		case !slices.Contains(labels, label):
			m.add(field, "the group's network %s, not %q", known, label)
		case slices.Contains(t.Ports[:i], label):
			m.add(field, "%q is named twice", label)
		}
	}
}

// validateTask finds what a job may ask of a task, outside its config block,
// that a unikernel does not have.
func validateTask(m *mistakes, task *drivers.TaskConfig) {
	if task.Resources == nil || task.Resources.LinuxResources == nil ||
		task.Resources.LinuxResources.MemoryLimitBytes <= 0 {
		m.add("resources", "memory is missing")
	}
	for _, mount := range task.Mounts {
		m.add("volume_mount", "%s cannot be mounted: a unikernel has no access to the host's files, so put them into the rootfs",
			mount.TaskPath)
	}
	for _, device := range task.Devices {
		m.add("device", "%s cannot be used by a unikernel", device.HostPath)
	}
	if _, _, err := parseUser(task.User); err != nil {
		m.add("user", "%v", err)
	}
}

// parseUser reads a task's user: numbers, since names are a matter of the guest's
// own /etc/passwd. The group is the user's number where there is none.
func parseUser(user string) (uid, gid uint32, err error) {
	if user == "" {
		return 0, 0, nil
	}
	first, second, both := strings.Cut(user, ":")
	if !both {
		second = first
	}
	u, err := strconv.ParseUint(first, 10, 32)
	g, errGroup := strconv.ParseUint(second, 10, 32)
	const nobody = 1<<32 - 1 // as an id it means none (setuid(2))
	if err != nil || errGroup != nil || u == nobody || g == nobody {
		return 0, 0, fmt.Errorf("%q is neither a number nor two, such as %q or %q: a guest's users are its own", user, "1000", "1000:100")
	}
	return uint32(u), uint32(g), nil
}

func oneOf(m *mistakes, field, value string, allowed []string) {
	if value != "" && !slices.Contains(allowed, value) {
		m.add(field, "%q is not one of %s", value, strings.Join(allowed, ", "))
	}
}

// parseSize reads a size in bytes. A number without a unit counts MiB, as in
// Nomad's resources; K, M and G are powers of 1024, with or without B or iB.
func parseSize(s string) (int64, error) {
	number := strings.TrimRight(s, "KMGiB")
	unit := int64(1) << 20
	switch s[len(number):] {
	case "", "M", "MB", "MiB":
	case "K", "KB", "KiB":
		unit = 1 << 10
	case "G", "GB", "GiB":
		unit = 1 << 30
	default:
		return 0, fmt.Errorf("%q has an unknown unit: use KiB, MiB or GiB", s)
	}
	n, err := strconv.ParseInt(strings.TrimSpace(number), 10, 64)
	if err != nil || n <= 0 {
		return 0, fmt.Errorf("%q is not a size, such as 256MiB", s)
	}
	if n > maxDisk/unit {
		return 0, fmt.Errorf("%q is more than the largest disk of 16 TiB", s)
	}
	return n * unit, nil
}

// maxDisk is the size of the largest ext4 file system of 4 KiB blocks without
// the 64bit feature, in bytes (mke2fs.conf(5): 2^32 blocks).
const maxDisk = 16 << 40

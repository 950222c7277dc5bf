// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/nomad/plugins/drivers"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/bytesize"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/problems"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/statedir"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel/lkl"
)

// DefaultStateDir is the default of the plugin's option state_dir.
const DefaultStateDir = statedir.Default

// DefaultStartTimeout is the default of the plugin's option start_timeout.
const DefaultStartTimeout = "5m"

// DefaultMaxRootfsSize is the default of the plugin's option max_rootfs_size.
const DefaultMaxRootfsSize = "10GiB"

// Config is the plugin's block in the agent's configuration.
type Config struct {
	StateDir      string      `codec:"state_dir"`
	ImagePaths    []string    `codec:"image_paths"`
	AllowExecHeap bool        `codec:"allow_exec_heap"`
	AllowSpoofing bool        `codec:"allow_spoofing"`
	BlockMetadata string      `codec:"block_metadata"`
	MaxRootfsSize string      `codec:"max_rootfs_size"`
	StartTimeout  string      `codec:"start_timeout"`
	Auth          ClientAuth  `codec:"auth"`
	Registries    []Registry  `codec:"registry"`
	ImageGC       ImageGC     `codec:"image_gc"`
	HostNetwork   HostNetwork `codec:"host_network"`
	Volumes       Volumes     `codec:"volumes"`
}

// defaultConfig returns the configuration of a plugin without a block in the agent's
// configuration.
func defaultConfig() Config {
	return Config{StateDir: DefaultStateDir, ImageGC: ImageGC{Enabled: true}, HostNetwork: defaultHostNetwork()}
}

// validate reports every mistake in the plugin's configuration.
func (c *Config) validate() error {
	var list problems.List
	if checkDir(&list, "state_dir", c.StateDir) {
		if err := statedir.Check(c.StateDir); err != nil {
			list.Addf("state_dir", "%w", err)
		}
	}
	for i, p := range c.ImagePaths {
		checkDir(&list, fmt.Sprintf("image_paths[%d]", i), p)
	}
	if _, err := parseDuration(c.StartTimeout, DefaultStartTimeout); err != nil {
		list.Addf("start_timeout", "%w", err)
	}
	if _, err := c.maxRootfsSize(); err != nil {
		list.Addf("max_rootfs_size", "%w", err)
	}
	oneOf(&list, "block_metadata", c.BlockMetadata, metadataBlocks)
	c.HostNetwork.validate(&list)
	c.Volumes.validate(&list)
	c.validateImages(&list)
	if err := list.Err(); err != nil {
		return fmt.Errorf("plugin %w: %w", errConfig, err)
	}
	return nil
}

// startTimeout returns the start_timeout of a valid configuration, or its default.
func (c *Config) startTimeout() time.Duration {
	d, _ := parseDuration(c.StartTimeout, DefaultStartTimeout)
	return d
}

// parseDuration parses a duration. An empty one is the default.
func parseDuration(s, byDefault string) (time.Duration, error) {
	d, err := time.ParseDuration(cmp.Or(s, byDefault))
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("%q is not a positive duration, such as %q or %q", s, "90s", byDefault)
	}
	return d, nil
}

// blocksMetadata reports whether a guest's packets to metadata services are dropped.
func (c *Config) blocksMetadata(mode networkMode) bool {
	switch c.BlockMetadata {
	case blockAlways:
		return true
	case blockNever:
		return false
	}
	return mode == modeHost
}

// maxRootfsSize returns the max_rootfs_size in bytes. It returns the default for "".
func (c *Config) maxRootfsSize() (int64, error) {
	return parseSize(cmp.Or(c.MaxRootfsSize, DefaultMaxRootfsSize))
}

// checkDir checks that a path can be used as a directory. The directory may be
// missing.
func checkDir(list *problems.List, field, path string) bool {
	if !filepath.IsAbs(path) {
		list.Addf(field, "%q is not an absolute path", path)
		return false
	}
	if info, err := os.Stat(path); err == nil && !info.IsDir() {
		list.Addf(field, "%s is not a directory", path)
		return false
	}
	return true
}

// TaskConfig is the config block of a task.
type TaskConfig struct {
	Image      string `codec:"image"`
	Kernel     string `codec:"kernel"` // with Image: a path in the image, or ""
	Rootfs     string `codec:"rootfs"`
	RootfsSize string `codec:"rootfs_size"`
	RootfsSync string `codec:"rootfs_sync"`
	// RootfsFormat is that of a root disk that the driver builds.
	RootfsFormat   string `codec:"rootfs_format"`
	RootfsReadOnly bool   `codec:"rootfs_read_only"`
	// RootfsPersist is the path of a root disk that outlives the task, or "".
	RootfsPersist string   `codec:"rootfs_persist"`
	RootfsOptions string   `codec:"rootfs_options"`
	Args          []string `codec:"args"`
	Flavor        string   `codec:"flavor"`
	Tender        string   `codec:"tender"`
	ExecHeap      bool     `codec:"exec_heap"`
	HugePages     bool     `codec:"huge_pages"`
	// Ports is nil for a task that serves all ports.
	Ports       []string                   `codec:"ports"`
	NetworkMode string                     `codec:"network_mode"`
	Interfaces  map[string]InterfaceConfig `codec:"interface"` // by net device
	Disks       map[string]DiskConfig      `codec:"disk"`      // by block device
	WorkDir     string                     `codec:"work_dir"`
	Argv0       string                     `codec:"argv0"`
	StackSize   string                     `codec:"stack_size"`
	KernelLog   bool                       `codec:"kernel_log"`
	// These need an image.
	Entrypoint       []string  `codec:"entrypoint"`
	Auth             *TaskAuth `codec:"auth"`
	ImagePullPolicy  string    `codec:"image_pull_policy"`
	ImagePullTimeout string    `codec:"image_pull_timeout"`
	// Sysctl may be a map or blocks. Nomad decodes both to a list of maps.
	Sysctl []map[string]string `codec:"sysctl"`
	// Hostname and ExtraHosts are as those of the docker driver.
	Hostname   string   `codec:"hostname"`
	ExtraHosts []string `codec:"extra_hosts"`

	Bandwidth *BandwidthConfig `codec:"bandwidth"`
	Mounts    []MountConfig    `codec:"mount"`
}

// validateSysctl reports mistakes for which the kernel need not be read.
func (t *TaskConfig) validateSysctl(list *problems.List) {
	const allFeatures = ^unikernel.Features(0)
	settings := lkl.Config{Sysctl: t.sysctls()}
	if err := settings.CheckSysctl(allFeatures); err != nil {
		list.Addf("sysctl", "%w", err)
	}
}

// sysctls returns the settings of all sysctl blocks.
func (t *TaskConfig) sysctls() map[string]string {
	all := map[string]string{}
	for _, block := range t.Sysctl {
		maps.Copy(all, block)
	}
	return all
}

const auto = "auto"

var (
	flavors = []string{auto, "lkl", "solo5"}
	tenders = []string{auto, "spt"}
	syncs   = []string{syncNone, syncFlush, syncWriteThrough}

	metadataBlocks = []string{blockInHostMode, blockAlways, blockNever}

	pullPolicies = []string{"missing", "always", "never"}
)

// The values of the plugin's option block_metadata.
const (
	blockInHostMode = "host"
	blockAlways     = "always"
	blockNever      = "never"
)

// The values of rootfs_sync.
const (
	syncNone         = "none"
	syncFlush        = "flush"
	syncWriteThrough = "write-through"
)

// taskConfigError returns the mistakes in a task's configuration as one error.
func taskConfigError(list *problems.List) error {
	if err := list.Err(); err != nil {
		return fmt.Errorf("task %w: %w", errConfig, err)
	}
	return nil
}

// validate reports every mistake that can be found without access to a file.
func (t *TaskConfig) validate(plugin *Config, task *drivers.TaskConfig) error {
	var list problems.List
	t.validateSource(&list)
	t.validateRootfs(&list, plugin)
	t.validatePersist(&list, plugin, task)
	t.validateReadOnly(&list)
	for i, arg := range t.Args {
		checkText(&list, fmt.Sprintf("args[%d]", i), arg)
	}
	oneOf(&list, "flavor", t.Flavor, flavors)
	oneOf(&list, "tender", t.Tender, tenders)
	if t.ExecHeap && !plugin.AllowExecHeap {
		list.Addf("exec_heap", "is not allowed on this client: its plugin config does not set allow_exec_heap")
	}
	if t.WorkDir != "" && !path.IsAbs(t.WorkDir) {
		list.Addf("work_dir", "%q is not an absolute path in the guest, such as %q", t.WorkDir, "/srv")
	}
	t.validateArgv0(&list)
	t.validateStackSize(&list)
	oneOf(&list, "network_mode", t.NetworkMode, networkModes)
	t.servedPorts(&list, task)
	t.validateInterfaces(&list)
	t.validateHosts(&list)
	t.validateSysctl(&list)
	t.validateBandwidth(&list)
	t.validateMounts(&list, plugin, task)
	validateTask(&list, task)
	t.validateUser(&list, task.User)
	return taskConfigError(&list)
}

func (t *TaskConfig) validateRootfs(list *problems.List, plugin *Config) {
	if t.Rootfs != "" && t.Image == "" {
		if err := checkJobPath(t.Rootfs); err != nil {
			list.Addf("rootfs", "%w", err)
		}
	}
	oneOf(list, "rootfs_sync", t.RootfsSync, syncs)
	hasRoot := t.Rootfs != "" || t.Image != ""
	if !hasRoot && (t.RootfsSync == syncFlush || t.RootfsSync == syncWriteThrough) {
		list.Addf("rootfs_sync", "is set without a rootfs: set rootfs too, or remove it")
	}
	t.validateRootfsOptions(list, hasRoot)
	if t.RootfsSize == "" {
		return
	}
	size, err := parseSize(t.RootfsSize)
	if err != nil {
		list.Addf("rootfs_size", "%w", err)
	}
	checkMaxSize(list, "rootfs_size", size, t.RootfsSize, plugin)
	if !hasRoot {
		list.Addf("rootfs_size", "is set without a rootfs: set rootfs too, or remove it")
	}
}

// validateTask reports settings of the task outside of its config block that
// unikernels do not support.
func validateTask(list *problems.List, task *drivers.TaskConfig) {
	if task.Resources == nil || task.Resources.LinuxResources == nil ||
		task.Resources.LinuxResources.MemoryLimitBytes <= 0 {
		list.Addf("resources", "memory is missing: set it to the task's memory in MiB")
	}
	validateDNS(list, task.DNS)
	for _, device := range task.Devices {
		list.Addf("device", "%s cannot be used by a unikernel: remove the device from the task", device.HostPath)
	}
}

// validateUser checks the task's user. Only an image can resolve a name.
func (t *TaskConfig) validateUser(list *problems.List, user string) {
	if _, _, err := parseUser(user); err != nil && t.Image == "" {
		list.Addf("user", "%w", err)
	}
	checkText(list, "user", user)
}

// parseUser parses a task's user, UID or UID:GID. Without a GID, the group has
// the number of the user. An empty user is root.
func parseUser(user string) (uid, gid uint32, err error) {
	if user == "" {
		return 0, 0, nil
	}
	uidText, gidText, both := strings.Cut(user, ":")
	if !both {
		gidText = uidText
	}
	u, err := strconv.ParseUint(uidText, 10, 32)
	g, errGID := strconv.ParseUint(gidText, 10, 32)
	const unchanged = 1<<32 - 1 // not an ID, but "leave it as it is" (setresuid(2))
	if err != nil || errGID != nil || u == unchanged || g == unchanged {
		return 0, 0, fmt.Errorf("%q must be a numeric UID or UID:GID, such as %q or %q: "+
			"names cannot be resolved, because /etc/passwd is inside the guest", user, "1000", "1000:100")
	}
	return uint32(u), uint32(g), nil
}

func oneOf(list *problems.List, field, value string, allowed []string) {
	if value != "" && !slices.Contains(allowed, value) {
		list.Addf(field, "%q is not one of %s", value, strings.Join(allowed, ", "))
	}
}

// parseSize parses a size and returns it in bytes. A number without a unit is in
// MiB, as in Nomad's resources.
func parseSize(s string) (int64, error) { return bytesize.Parse(s) }

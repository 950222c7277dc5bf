// SPDX-License-Identifier: MPL-2.0

package hostcheck

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/executor/cgroup"
)

const cgroupMount = "/sys/fs/cgroup"

// The controllers that limit and count the resources of tasks.
var (
	v1Controllers = []string{"cpu", "cpuset", "freezer", "memory"}
	v2Controllers = []string{"cpu", "cpuset", "memory"}
)

// errNoCgroup means that the host has no control groups.
var errNoCgroup = errors.New("no cgroup file system is mounted on " + cgroupMount)

// errNoController means that the kernel lacks controllers that the driver needs.
var errNoController = errors.New("controllers are missing")

// cgroupVersion returns the version of the host's control groups. It checks that they have
// the controllers that the driver uses.
func cgroupVersion() (string, error) {
	version, err := cgroup.HostVersion()
	if err != nil {
		return "", err
	}
	switch version {
	case cgroup.V1:
		return "v1", requireControllers(v1Controllers, func(name string) bool {
			var stat unix.Statfs_t
			err := unix.Statfs(filepath.Join(cgroupMount, name), &stat)
			return err == nil && stat.Type == unix.CGROUP_SUPER_MAGIC
		})
	case cgroup.V2:
		content, err := os.ReadFile(filepath.Join(cgroupMount, "cgroup.controllers"))
		if err != nil {
			return "", err
		}
		names := strings.Fields(string(content))
		return "v2", requireControllers(v2Controllers, func(name string) bool { return slices.Contains(names, name) })
	}
	return "", errNoCgroup
}

func requireControllers(names []string, found func(string) bool) error {
	var missing []string
	for _, name := range names {
		if !found(name) {
			missing = append(missing, name)
		}
	}
	if missing == nil {
		return nil
	}
	return fmt.Errorf("%s: %w: %s", cgroupMount, errNoController, strings.Join(missing, ", "))
}

func checkCgroups(context.Context) Finding {
	version, err := cgroupVersion()
	switch {
	case errors.Is(err, errNoController):
		return failed(setKernelParameter("cgroup_enable=memory"), "%s: %v", version, err)
	case errors.Is(err, errNoCgroup):
		return failed("mount -t cgroup2 none "+cgroupMount, "%v", err)
	case err != nil:
		return failed("", "%v", err)
	case version == "v1":
		return ok("v1, with %s", strings.Join(v1Controllers, ", "))
	}
	return ok("v2, with %s", strings.Join(v2Controllers, ", "))
}

// checkSwap reports swap that a task's memory limit does not count.
func checkSwap(context.Context) Finding {
	content, err := os.ReadFile("/proc/swaps")
	if err != nil || strings.Count(string(content), "\n") <= 1 {
		return ok("no swap is in use")
	}
	version, err := cgroup.HostVersion()
	if err != nil || version == cgroup.None {
		return skipped("without control groups")
	}
	memory, swap := "memory/memory.limit_in_bytes", "memory/memory.memsw.limit_in_bytes"
	if version == cgroup.V2 {
		memory, swap = "*/memory.max", "*/memory.swap.max" // the root group has neither
	}
	if !existsInCgroups(memory) {
		return skipped("no group limits memory")
	}
	if !existsInCgroups(swap) {
		return warning(setKernelParameter("swapaccount=1"),
			"the kernel does not count swap: tasks that reach their memory limit swap instead of ending")
	}
	return ok("the memory limit of a task counts its swap")
}

// existsInCgroups reports whether a path with a pattern exists.
func existsInCgroups(pattern string) bool {
	found, err := filepath.Glob(filepath.Join(cgroupMount, pattern))
	return err == nil && len(found) > 0
}

// SPDX-License-Identifier: MPL-2.0

package sandbox

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
)

const cgroupRoot = "/sys/fs/cgroup"

// allocID matches the start of a name that Nomad gives. The name of an alloc's
// directory is the alloc's ID. The name of a cgroup is the ID, a dot and the task.
var allocID = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)

// Cgroups returns the cgroups of the machine as directories below /sys/fs/cgroup.
// With cgroup v1 it includes the hierarchies of all controllers.
func Cgroups() []string {
	return directories(cgroupRoot, func(string) bool { return true })
}

// removeCgroups removes the cgroups of the allocs below dir, after the kernel has
// killed all processes of the sandbox.
func removeCgroups(dir string) {
	allocs := make(map[string]bool)
	for _, path := range directories(dir, allocID.MatchString) {
		allocs[allocID.FindString(filepath.Base(path))] = true
	}
	if len(allocs) == 0 {
		return
	}
	dirs := Cgroups()
	slices.Reverse(dirs) // children before their parents
	for _, path := range dirs {
		if allocs[allocID.FindString(filepath.Base(path))] {
			_ = os.Remove(path) // an empty cgroup may stay
		}
	}
}

// directories returns root, and the directories below it with a matching name.
func directories(root string, match func(name string) bool) []string {
	var dirs []string
	_ = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() && match(entry.Name()) { // err: it has just been removed
			dirs = append(dirs, path)
		}
		return nil
	})
	return dirs
}

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

// Nomad names an alloc's directory by the alloc's id, and a cgroup by the id, a
// dot and the task.
var allocID = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)

// Cgroups lists the cgroups of the machine, as directories below
// /sys/fs/cgroup: of every controller's tree in version 1, of the one tree in
// version 2.
func Cgroups() []string {
	return directories(cgroupRoot, func(string) bool { return true })
}

// removeCgroups removes the cgroups of allocs that an agent under dir has still
// had when everything in the sandbox was killed.
func removeCgroups(dir string) {
	ours := make(map[string]bool)
	for _, path := range directories(dir, allocID.MatchString) {
		ours[allocID.FindString(filepath.Base(path))] = true
	}
	if len(ours) == 0 {
		return
	}
	dirs := Cgroups()
	slices.Reverse(dirs) // children before their parents
	for _, path := range dirs {
		if ours[allocID.FindString(filepath.Base(path))] {
			_ = os.Remove(path) // at worst it stays, empty
		}
	}
}

// directories lists root and the directories below it whose name matches.
func directories(root string, match func(name string) bool) []string {
	var dirs []string
	_ = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() && match(entry.Name()) { // one that just went is no error
			dirs = append(dirs, path)
		}
		return nil
	})
	return dirs
}

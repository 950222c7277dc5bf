// SPDX-License-Identifier: MPL-2.0

// Package leftover finds resources that a task has left behind. It lists all
// resources of the kinds that a task can own, and compares two lists.
package leftover

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv/sandbox"
)

// A Snapshot is the set of resources at one time. Each is a readable line, such as
// "process 41: /…/lkl-executor" or "link tap0".
type Snapshot map[string]bool

// Take lists the sandbox's processes, links, network namespaces and mounts, and the
// files below the given directories. It lists only the cgroups of the given allocs,
// because the machine has others.
func Take(allocs []string, dirs ...string) (Snapshot, error) {
	s := make(Snapshot)
	return s, errors.Join(
		s.processes(), s.links(), s.namespaces(), s.mounts(), s.cgroups(allocs), s.files(dirs))
}

// Since returns the resources that an earlier snapshot does not contain, in order.
func (s Snapshot) Since(earlier Snapshot) []string {
	var added []string
	for resource := range s {
		if !earlier[resource] {
			added = append(added, resource)
		}
	}
	slices.Sort(added)
	return added
}

// Kinds counts resources by their kind: "2 cgroups, 1 tap".
func Kinds(resources []string) string {
	counts := make(map[string]int)
	for _, resource := range resources {
		kind, _, _ := strings.Cut(resource, " ")
		if kind == "network" {
			kind = "network namespace"
		}
		counts[kind]++
	}
	var parts []string
	for _, kind := range slices.Sorted(maps.Keys(counts)) {
		plural := kind + "s"
		if strings.HasSuffix(kind, "ss") {
			plural = kind + "es"
		}
		if counts[kind] == 1 {
			plural = kind
		}
		parts = append(parts, fmt.Sprintf("%d %s", counts[kind], plural))
	}
	return strings.Join(parts, ", ")
}

// Error returns an error that lists the resources, or nil without any. It ignores
// those that Nomad keeps for the next bridge network.
func Error(left []string) error {
	left = slices.DeleteFunc(slices.Clone(left), func(resource string) bool { return kept.MatchString(resource) })
	if len(left) == 0 {
		return nil
	}
	return errors.New("left behind: " + strings.Join(left, "; "))
}

// Images returns the files of the image cache below a plugin's state_dir: records, entries,
// unfinished builds and locks.
func Images(stateDir string) ([]string, error) {
	return filepath.Glob(filepath.Join(stateDir, "images", "*", "*"))
}

// kept matches the bridges, which have these names in the sandbox, and the mount
// point for named network namespaces.
var kept = regexp.MustCompile(`^(link nomad[0-9]+|mount /run/netns)$`)

// processes lists the processes of the sandbox, including zombies.
func (s Snapshot) processes() error {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return err
	}
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		line, err := os.ReadFile(filepath.Join("/proc", entry.Name(), "cmdline"))
		if err != nil {
			continue // it has just ended
		}
		if len(line) == 0 {
			line, _ = os.ReadFile(filepath.Join("/proc", entry.Name(), "comm"))
		}
		s[fmt.Sprintf("process %d: %s", pid, bytes.TrimSpace(bytes.ReplaceAll(line, []byte{0}, []byte(" "))))] = true
	}
	return nil
}

// links lists the links of the sandbox's network.
func (s Snapshot) links() error {
	links, err := netlink.LinkList()
	if err != nil {
		return fmt.Errorf("list the links: %w", err)
	}
	for _, link := range links {
		s["link "+link.Attrs().Name] = true
	}
	return nil
}

// namespaces lists the named network namespaces, which belong to allocs, and the
// taps in them.
func (s Snapshot) namespaces() error {
	entries, err := os.ReadDir("/run/netns")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, entry := range entries {
		s["network namespace "+entry.Name()] = true
		taps, err := tapsIn(filepath.Join("/run/netns", entry.Name()))
		if err != nil {
			continue // it is being created or removed
		}
		for _, tap := range taps {
			s["tap "+tap+" in "+entry.Name()] = true
		}
	}
	return nil
}

func tapsIn(path string) ([]string, error) {
	ns, err := netns.GetFromPath(path)
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	handle, err := netlink.NewHandleAt(ns)
	if err != nil {
		return nil, err
	}
	defer handle.Close()
	links, err := handle.LinkList()
	var taps []string
	for _, link := range links {
		if link.Type() == "tuntap" {
			taps = append(taps, link.Attrs().Name)
		}
	}
	return taps, err
}

func (s Snapshot) mounts() error {
	content, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(content)) {
		if fields := strings.Fields(line); len(fields) > 4 { // proc(5): the fifth is the mount point
			s["mount "+fields[4]] = true
		}
	}
	return nil
}

func (s Snapshot) cgroups(allocs []string) error {
	for _, dir := range sandbox.Cgroups() {
		if slices.ContainsFunc(allocs, func(id string) bool { return strings.HasPrefix(filepath.Base(dir), id) }) {
			s["cgroup "+dir] = true
		}
	}
	return nil
}

func (s Snapshot) files(dirs []string) error {
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			if err == nil {
				s["file "+path] = true
			}
			if errors.Is(err, fs.ErrNotExist) { // it is being created or removed
				return nil
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

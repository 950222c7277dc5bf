// SPDX-License-Identifier: MPL-2.0

// Package cgroup puts a task into the control groups that Nomad makes for it,
// writes its limits there and reads what it used, on cgroup v1 and v2.
package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/executor/kernelfile"
)

// Versions of a Spec. None leaves a task in the cgroups of its parent.
const (
	None = 0
	V1   = 1
	V2   = 2
)

// A Spec names the control groups of one task by their absolute directories,
// and the limits to write there. The zero Spec is no cgroup at all.
type Spec struct {
	Version int

	Unified string // V2: the task's group

	// V1: the task's group in each hierarchy. CPUSet may be a group that tasks
	// share. "" leaves that hierarchy alone.
	Freezer, Memory, CPU, CPUSet string

	Limits Limits
}

// Limits of a task. A zero keeps what the group has.
type Limits struct {
	MemoryBytes uint64 // hard limit, without any swap
	MemoryLow   uint64 // reserved: taken back last
	CPUShares   uint64 // in the unit of v1, converted for v2
	CPUs        string // in the list format of cpuset.cpus: "0,2-3"
}

// Memory is what a memory cgroup counts, in bytes.
type Memory struct {
	RSS      uint64 // anonymous memory
	Cache    uint64 // page cache, much of which is given back under pressure
	Swap     uint64
	Usage    uint64 // all that counts against Limit
	Peak     uint64 // the highest Usage; 0 where the kernel does not tell
	Limit    uint64 // 0: none
	OOMKills uint64 // how often the kernel killed a process of the group for want of memory
}

// CPU tells how a group was held back by a hard CPU limit.
type CPU struct {
	Periods     uint64
	Throttled   uint64 // periods in which it was
	ThrottledNS uint64
}

// A Group is a task's control groups, whatever their version.
type Group interface {
	// Create makes missing directories and writes the limits. A limit that
	// cannot be written is an error: a task never runs without.
	Create() error
	// Enter moves the calling thread, and so what it forks, into the groups.
	// On v2 the whole process goes.
	Enter() error
	// Release takes the calling thread out of those groups again in which the
	// one who holds the task must not be: v1's freezer.
	Release() error
	// Thaw lets a frozen task run, and so die. It is not an error if none is.
	Thaw() error
	// Memory and CPU read what the kernel counts. errors.ErrUnsupported: the
	// Spec names no group that counts it.
	Memory() (Memory, error)
	CPU() (CPU, error)
	// Remove removes the directories that belong to this task alone. It is an
	// error if processes are left in one, and none if they are gone already.
	Remove() error
}

// ErrVersion says that a Spec is of no version that this package knows.
var ErrVersion = errors.New("unknown cgroup version")

// Open returns the groups of a Spec. It touches nothing yet.
func (s Spec) Open() (Group, error) {
	switch s.Version {
	case None:
		return none{}, nil
	case V1:
		return v1{s}, nil
	case V2:
		return v2{s}, nil
	default:
		return nil, fmt.Errorf("%w: %d", ErrVersion, s.Version)
	}
}

// Nomad returns the groups that a Nomad client makes for a task. cpusetPath is
// LinuxResources.CpusetCgroupPath of the task's configuration; if it is empty,
// or no cgroup file system is mounted, there are none.
func Nomad(cpusetPath, allocID, task string) (Spec, error) {
	if cpusetPath == "" {
		return Spec{}, nil
	}
	version, err := HostVersion()
	if err != nil {
		return Spec{}, err
	}
	switch version {
	case V2:
		return Spec{Version: V2, Unified: cpusetPath}, nil
	case V1:
		return nomadV1(hostMount, cpusetPath, allocID+"."+task)
	}
	return Spec{}, nil
}

// nomadV1 finds the other hierarchies' groups from that of the cpuset:
// MOUNT/cpuset/PARENT/share, or MOUNT/cpuset/PARENT/reserve/SCOPE for a task
// with cores of its own.
func nomadV1(mount, cpusetPath, scope string) (Spec, error) {
	rest, ok := strings.CutPrefix(filepath.Clean(cpusetPath), filepath.Join(mount, "cpuset")+"/")
	parent := filepath.Dir(rest)
	if filepath.Base(rest) == scope {
		parent = filepath.Dir(parent)
	}
	if !ok || parent == "." {
		return Spec{}, fmt.Errorf("cpuset cgroup %s: not a group of Nomad below %s/cpuset", cpusetPath, mount)
	}
	return Spec{
		Version: V1,
		Freezer: filepath.Join(mount, "freezer", parent, scope),
		Memory:  filepath.Join(mount, "memory", parent, scope),
		CPU:     filepath.Join(mount, "cpu", parent, scope),
		CPUSet:  cpusetPath,
	}, nil
}

type none struct{}

func (none) Create() error           { return nil }
func (none) Enter() error            { return nil }
func (none) Release() error          { return nil }
func (none) Thaw() error             { return nil }
func (none) Memory() (Memory, error) { return Memory{}, errors.ErrUnsupported }
func (none) CPU() (CPU, error)       { return CPU{}, errors.ErrUnsupported }
func (none) Remove() error           { return nil }

// write writes an interface file, which must exist.
func write(dir, file, value string) error {
	return kernelfile.Write(filepath.Join(dir, file), value)
}

// writeOptional is write where the kernel may lack the file.
func writeOptional(dir, file, value string) error {
	err := write(dir, file, value)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

func read(dir, file string) (string, error) {
	b, err := kernelfile.Read(filepath.Join(dir, file))
	if err != nil {
		return "", err // names the path
	}
	return strings.TrimSpace(string(b)), nil
}

// readNumber reads a file that holds one number; "max" is 0.
func readNumber(dir, file string) (uint64, error) {
	s, err := read(dir, file)
	if err != nil || s == "max" {
		return 0, err
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", filepath.Join(dir, file), err)
	}
	return n, nil
}

// readTable reads a file of lines "key number" into those of the wanted
// numbers that it has.
func readTable(dir, file string, want map[string]*uint64) error {
	s, err := read(dir, file)
	if err != nil {
		return err
	}
	for line := range strings.Lines(s) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		to, ok := want[key]
		if !ok {
			continue
		}
		if *to, err = strconv.ParseUint(value, 10, 64); err != nil {
			return fmt.Errorf("%s: %s: %w", filepath.Join(dir, file), key, err)
		}
	}
	return nil
}

// removePatience is how long a group may stay busy after the end of its last
// process, which some kernels take out of it only a little later.
const removePatience = time.Second

// remove removes a group's directory. The files in it go with it.
func remove(dir string) error {
	if dir == "" {
		return nil
	}
	for end := time.Now().Add(removePatience); ; {
		err := unix.Rmdir(dir)
		switch {
		case err == nil || errors.Is(err, unix.ENOENT):
			return nil
		case errors.Is(err, unix.EINTR):
		case !errors.Is(err, unix.EBUSY) || time.Now().After(end):
			return fmt.Errorf("remove cgroup %s: %w", dir, err)
		default:
			<-time.After(time.Millisecond) // nothing announces it
		}
	}
}

// SPDX-License-Identifier: MPL-2.0

// Package cgroup moves a task into the cgroups that Nomad creates for it, writes
// its limits and reads its resource usage, on cgroup v1 and v2.
//
// The packages containerd/cgroups and opencontainers/cgroups are not used. They
// would bring D-Bus, eBPF, logging and protobuf packages into a process that is
// budgeted at 4 MiB. They move processes only through cgroup.procs (5 to 16 ms
// instead of 40 µs, see v1.Enter), and do not know Nomad's cgroup layout.
package cgroup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/executor/kernelfile"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/eintr"
)

// Values of Spec.Version. None leaves a task in the cgroups of its parent.
const (
	None = 0
	V1   = 1
	V2   = 2
)

// A Spec contains the absolute paths of a task's cgroups, and the limits to write
// there. The zero Spec stands for no cgroup.
type Spec struct {
	Version int `json:"Version"`

	Unified string `json:"Unified"` // V2: the task's group

	// V1: the task's group in each hierarchy. "" leaves that hierarchy alone.
	Freezer string `json:"Freezer"`
	Memory  string `json:"Memory"`
	CPU     string `json:"CPU"`
	CPUSet  string `json:"CPUSet"` // may be shared by several tasks

	Limits Limits `json:"Limits"`
}

// Limits of a task. A zero value leaves the group's setting unchanged.
type Limits struct {
	MemoryBytes uint64 `json:"MemoryBytes"` // hard limit, without any swap
	MemoryLow   uint64 `json:"MemoryLow"`   // reserved memory, which the kernel reclaims last
	CPUShares   uint64 `json:"CPUShares"`   // in the unit of v1; converted for v2
	CPUs        string `json:"CPUs"`        // in the list format of cpuset.cpus: "0,2-3"
}

// Memory contains the counters of a memory cgroup in bytes.
type Memory struct {
	RSS      uint64 // anonymous memory
	Cache    uint64 // page cache, most of which the kernel can reclaim
	Swap     uint64
	Usage    uint64 // memory charged against Limit
	Peak     uint64 // the highest Usage; 0 on kernels that do not count it
	Limit    uint64 // 0: unlimited
	OOMKills uint64 // processes of the group that the kernel killed for lack of memory
}

// CPU contains the counters of the CPU bandwidth limit of a group.
type CPU struct {
	Periods     uint64
	Throttled   uint64 // periods in which the group was throttled
	ThrottledNS uint64
}

// A Group is a task's cgroups, independent of the cgroup version.
type Group interface {
	// Create creates missing directories and writes the limits. It fails if a
	// limit cannot be written, because a task must not run without its limits.
	Create() error
	// Enter moves the calling thread into the groups; its future children are
	// created there. On v2 it moves the whole process.
	Enter() error
	// Release moves the calling thread out of v1's freezer, in which the
	// executor must not be.
	Release() error
	// Thaw resumes a frozen task, so that it can be killed. Thawing a task that
	// is not frozen is no error.
	Thaw() error
	// Open opens the files that report an out-of-memory kill and thaw the task.
	Open() (Files, error)
	// Memory and CPU read the kernel's counters. They return
	// errors.ErrUnsupported if the Spec has no group that counts them.
	Memory() (Memory, error)
	CPU() (CPU, error)
	// Remove removes the directories that belong to this task alone. It fails if
	// processes are left in one. Missing directories are no error.
	Remove(ctx context.Context) error
}

// ErrVersion reports a Spec of an unknown cgroup version.
var ErrVersion = errors.New("unknown cgroup version")

// Group returns the groups of a Spec. It neither creates nor opens anything.
func (s Spec) Group() (Group, error) {
	switch s.Version {
	case None:
		return noGroup{}, nil
	case V1:
		return v1{s}, nil
	case V2:
		return v2{s}, nil
	default:
		return nil, fmt.Errorf("%w: %d", ErrVersion, s.Version)
	}
}

// Nomad returns the cgroups that a Nomad client creates for a task. cpusetPath is
// LinuxResources.CpusetCgroupPath of the task's configuration. If it is empty, or
// no cgroup file system is mounted, the result is the zero Spec.
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

// nomadV1 derives the groups of the other hierarchies from the cpuset's group:
// MOUNT/cpuset/PARENT/share, or MOUNT/cpuset/PARENT/reserve/SCOPE for a task
// with reserved cores.
func nomadV1(mount, cpusetPath, scope string) (Spec, error) {
	rest, ok := strings.CutPrefix(filepath.Clean(cpusetPath), filepath.Join(mount, "cpuset")+"/")
	parent := filepath.Dir(rest)
	if filepath.Base(rest) == scope {
		parent = filepath.Dir(parent)
	}
	if !ok || parent == "." {
		return Spec{}, fmt.Errorf("cpuset cgroup %s is not a Nomad cgroup below %s/cpuset", cpusetPath, mount)
	}
	return Spec{
		Version: V1,
		Freezer: filepath.Join(mount, "freezer", parent, scope),
		Memory:  filepath.Join(mount, "memory", parent, scope),
		CPU:     filepath.Join(mount, "cpu", parent, scope),
		CPUSet:  cpusetPath,
	}, nil
}

type noGroup struct{}

func (noGroup) Create() error                { return nil }
func (noGroup) Enter() error                 { return nil }
func (noGroup) Release() error               { return nil }
func (noGroup) Thaw() error                  { return nil }
func (noGroup) Memory() (Memory, error)      { return Memory{}, errors.ErrUnsupported }
func (noGroup) CPU() (CPU, error)            { return CPU{}, errors.ErrUnsupported }
func (noGroup) Remove(context.Context) error { return nil }

// write writes an existing interface file.
func write(dir, file, value string) error {
	return kernelfile.Write(filepath.Join(dir, file), value)
}

// writeOptional writes an interface file that some kernels do not have.
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

// readNumber reads a file that contains one number. It returns 0 for "max".
func readNumber(dir, file string) (uint64, error) {
	s, err := read(dir, file)
	if err != nil {
		return 0, err
	}
	n, err := parseNumber(s)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", filepath.Join(dir, file), err)
	}
	return n, nil
}

// parseNumber returns 0 for "max".
func parseNumber(s string) (uint64, error) {
	if s == "max" {
		return 0, nil
	}
	return strconv.ParseUint(s, 10, 64)
}

// readTable reads a file with lines "KEY NUMBER" and sets the wanted keys that
// it contains.
func readTable(dir, file string, want map[string]*uint64) error {
	s, err := read(dir, file)
	if err != nil {
		return err
	}
	if err := parseTable(s, want); err != nil {
		return fmt.Errorf("%s: %w", filepath.Join(dir, file), err)
	}
	return nil
}

func parseTable(s string, want map[string]*uint64) (err error) {
	for line := range strings.Lines(s) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		to, ok := want[key]
		if !ok {
			continue
		}
		if *to, err = strconv.ParseUint(value, 10, 64); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
	}
	return nil
}

const (
	// removePatience limits the retries of Remove. Some kernels keep a group busy
	// for a short time after its last process has ended.
	removePatience = time.Second
	removeRetry    = time.Millisecond // the kernel sends no event
)

// remove removes a group's directory, including its interface files.
func remove(ctx context.Context, dir string) error {
	if dir == "" {
		return nil
	}
	retry := time.NewTicker(removeRetry)
	defer retry.Stop()
	for end := time.Now().Add(removePatience); ; {
		_, err := eintr.Retry(func() (int, error) { return 0, unix.Rmdir(dir) })
		switch {
		case err == nil || errors.Is(err, unix.ENOENT):
			return nil
		case !errors.Is(err, unix.EBUSY) || time.Now().After(end):
			return fmt.Errorf("remove cgroup %s: %w", dir, err)
		}
		select {
		case <-retry.C:
		case <-ctx.Done():
			return fmt.Errorf("remove cgroup %s: %w", dir, ctx.Err())
		}
	}
}

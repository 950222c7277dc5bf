// SPDX-License-Identifier: MPL-2.0

package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/executor/kernelfile"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/eintr"
)

// Files are open interface files of a task's groups, for a process that may no longer open
// files.
type Files struct {
	oomKills, limit, freezer openFile
	oomKillsKey, limitKey    string // "" if the file contains one number
	thawed                   string // the value that thaws the group
}

// An openFile is an interface file, or a missing one with the descriptor -1.
type openFile struct {
	fd   int
	path string
}

// open opens an interface file. The file may be missing, and dir may be "".
func open(dir, file string, flags int) (openFile, error) {
	f := openFile{fd: -1, path: filepath.Join(dir, file)}
	if dir == "" {
		return f, nil
	}
	fd, err := eintr.Retry(func() (int, error) { return unix.Open(f.path, flags|unix.O_CLOEXEC, 0) })
	switch {
	case errors.Is(err, os.ErrNotExist):
		return f, nil
	case err != nil:
		return f, &fs.PathError{Op: "open", Path: f.path, Err: err}
	}
	f.fd = fd
	return f, nil
}

// number returns the number with the key, or the only number for the key "". It returns 0
// for "max".
func (f openFile) number(key string) (n uint64, err error) {
	if f.fd < 0 {
		return 0, fmt.Errorf("%s: %w", f.path, errors.ErrUnsupported)
	}
	content, err := kernelfile.ReadOpen(f.fd)
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", f.path, err)
	}
	if key == "" {
		n, err = parseNumber(strings.TrimSpace(string(content)))
	} else {
		err = parseTable(string(content), map[string]*uint64{key: &n})
	}
	if err != nil {
		return 0, fmt.Errorf("%s: %w", f.path, err)
	}
	return n, nil
}

// OOM returns the number of processes of the group that the kernel killed for lack of
// memory, and the memory limit in bytes, or 0 without a limit. It returns
// errors.ErrUnsupported if no group counts them.
func (f Files) OOM() (kills, limit uint64, err error) {
	kills, err = f.oomKills.number(f.oomKillsKey)
	limit, limitErr := f.limit.number(f.limitKey)
	if limit >= unlimited {
		limit = 0
	}
	return kills, limit, errors.Join(err, limitErr)
}

// Thaw is Group.Thaw.
func (f Files) Thaw() error {
	if f.freezer.fd < 0 {
		return nil
	}
	_, err := eintr.Retry(func() (int, error) { return unix.Write(f.freezer.fd, []byte(f.thawed)) })
	if err != nil {
		return &fs.PathError{Op: "write " + f.thawed + " to", Path: f.freezer.path, Err: err}
	}
	return nil
}

func (noGroup) Open() (Files, error) {
	none := openFile{fd: -1}
	return Files{oomKills: none, limit: none, freezer: none}, nil
}

func (g v1) Open() (Files, error) {
	oomKills, err1 := open(g.spec.Memory, "memory.oom_control", unix.O_RDONLY)
	limit, err2 := open(g.spec.Memory, "memory.stat", unix.O_RDONLY)
	freezer, err3 := open(g.spec.Freezer, "freezer.state", unix.O_WRONLY)
	return Files{
		oomKills: oomKills, oomKillsKey: "oom_kill",
		limit: limit, limitKey: "hierarchical_memory_limit",
		freezer: freezer, thawed: "THAWED",
	}, errors.Join(err1, err2, err3)
}

func (g v2) Open() (Files, error) {
	oomKills, err1 := open(g.spec.Unified, "memory.events", unix.O_RDONLY)
	limit, err2 := open(g.spec.Unified, "memory.max", unix.O_RDONLY)
	freezer, err3 := open(g.spec.Unified, "cgroup.freeze", unix.O_WRONLY)
	return Files{
		oomKills: oomKills, oomKillsKey: "oom_kill",
		limit:   limit,
		freezer: freezer, thawed: "0",
	}, errors.Join(err1, err2, err3)
}

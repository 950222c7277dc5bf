// SPDX-License-Identifier: MPL-2.0

package executor

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/atomicfile"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/safeopen"
)

// Identity is the content of IdentityFile: the processes of a task.
type Identity struct {
	Version    int     `json:"Version"`              // newest version that the executor supports
	MinVersion int     `json:"MinVersion,omitempty"` // oldest version that it supports; 0 means 1
	Task       string  `json:"Task"`                 // Plan.Task
	Executor   Process `json:"Executor"`
	Guest      Process `json:"Guest"`          // zero until the guest runs
	Files      Process `json:"Files,omitzero"` // the file server; zero if the task has none
	UID        int     `json:"UID"`            // UID and GID of the guest
}

// ExitRecord is the content of ExitFile: how the guest of an executor ended.
type ExitRecord struct {
	Version  int     `json:"Version"`
	Executor Process `json:"Executor"`
	Guest    Process `json:"Guest"`
	Exit     Exit    `json:"Exit"`
}

// ReadPlan reads the plan from a state directory, without its command line.
func ReadPlan(dir string) (Plan, error) {
	var p Plan
	return p, readJSON(filepath.Join(dir, PlanFile), &p)
}

// ReadIdentity reads the processes of a task from its state directory. They may
// have ended.
func ReadIdentity(dir string) (Identity, error) {
	var id Identity
	return id, readJSON(filepath.Join(dir, IdentityFile), &id)
}

// ReadExit reads the exit status of a guest from its state directory. It returns
// fs.ErrNotExist if the latest executor has not written it.
func ReadExit(dir string) (Exit, error) {
	var r ExitRecord
	path := filepath.Join(dir, ExitFile)
	if err := readJSON(path, &r); err != nil {
		return Exit{}, err
	}
	id, err := ReadIdentity(dir)
	if err != nil {
		return Exit{}, err
	}
	if r.Executor != id.Executor {
		return Exit{}, fmt.Errorf("%s is from an earlier run: %w", path, os.ErrNotExist)
	}
	return r.Exit, nil
}

// maxFile is the size limit of a file in a state directory, in bytes.
const maxFile = maxOrder

func readJSON(path string, v any) error {
	b, err := readFile(path)
	if err != nil {
		return err // names the path
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	return nil
}

// readFile reads a file of a state directory. The executor's user may have replaced some of
// them, so it reads only a regular file of a limited size.
func readFile(path string) ([]byte, error) {
	f, err := safeopen.Open(path, os.O_RDONLY|unix.O_NOFOLLOW, safeopen.Regular)
	if err != nil {
		return nil, err // names the path
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	switch {
	case err != nil:
		return nil, err // names the path
	case len(b) > maxFile:
		return nil, fmt.Errorf("%s is longer than %d bytes", path, maxFile)
	}
	return b, nil
}

// WritePlan writes a plan, without its command line, to its state directory.
func WritePlan(p Plan) error {
	dir, err := openDir(p.Dir)
	if err != nil {
		return err
	}
	defer dir.close()
	p.CommandLine = ""
	return dir.write(PlanFile, p)
}

// A stateDir is an open state directory. Opening files relative to its
// descriptor works even after the directory was moved or removed.
type stateDir struct {
	fd   int
	path string // for error messages
}

func openDir(path string) (stateDir, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return stateDir{}, fmt.Errorf("open state directory %s: %w", path, err)
	}
	return stateDir{fd: fd, path: path}, nil
}

func (d stateDir) close() { _ = unix.Close(d.fd) }

// write replaces a file of the directory without waiting for the disk. That is
// enough for files that are not read after a reboot.
func (d stateDir) write(name string, v any) error {
	b, err := json.Marshal(v)
	if err == nil {
		err = atomicfile.WriteAtNoSync(d.fd, name, append(b, '\n'), 0o600)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", filepath.Join(d.path, name), err)
	}
	return nil
}

// create opens a file of the directory for writing. It creates a missing file.
func (d stateDir) create(name string) (int, error) {
	return unix.Openat(d.fd, name, unix.O_WRONLY|unix.O_CREAT|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
}

func (d stateDir) remove(name string) { _ = unix.Unlinkat(d.fd, name, 0) }

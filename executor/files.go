// SPDX-License-Identifier: MPL-2.0

package executor

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/atomicfile"
)

// Identity is what IdentityFile holds: who works for a state directory.
type Identity struct {
	Version  int
	Task     string
	Executor Process
	Guest    Process // zero until the guest runs
	UID      int     // the guest's uid and gid
}

// ExitRecord is what ExitFile holds: how the guest ended, and whose guest.
type ExitRecord struct {
	Version  int
	Executor Process
	Guest    Process
	Exit     Exit
}

// ReadPlan reads the plan from a state directory, without its command line.
func ReadPlan(dir string) (Plan, error) {
	var p Plan
	return p, readJSON(filepath.Join(dir, PlanFile), &p)
}

// ReadIdentity reads who works, or worked, for a state directory.
func ReadIdentity(dir string) (Identity, error) {
	var id Identity
	return id, readJSON(filepath.Join(dir, IdentityFile), &id)
}

// ReadExit reads how the guest of a state directory ended. It returns
// fs.ErrNotExist if no executor wrote so, or another one than the last.
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
		return Exit{}, fmt.Errorf("%s is of an earlier run: %w", path, os.ErrNotExist)
	}
	return r.Exit, nil
}

func readJSON(path string, v any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err // names the path
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	return nil
}

// WritePlan writes the plan into its state directory, mode 0600, without the
// command line.
func WritePlan(p Plan) error {
	dir, err := openDir(p.Dir)
	if err != nil {
		return err
	}
	defer dir.close()
	p.CommandLine = ""
	return dir.write(PlanFile, p)
}

// A stateDir is an open state directory. Its files are reached through it, so
// that no path has to lead there any more.
type stateDir struct {
	fd   int
	path string // for messages
}

func openDir(path string) (stateDir, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return stateDir{}, fmt.Errorf("open state directory %s: %w", path, err)
	}
	return stateDir{fd: fd, path: path}, nil
}

func (d stateDir) close() { _ = unix.Close(d.fd) }

// write replaces a file of the directory as a whole. It does not wait for the
// disk: the readers of the file need it only as long as the machine is up.
func (d stateDir) write(name string, v any) error {
	return d.encode(name, v, atomicfile.WriteAtNoSync)
}

// writeDurable is write, and returns when the file is on the disk.
func (d stateDir) writeDurable(name string, v any) error {
	return d.encode(name, v, atomicfile.WriteAt)
}

func (d stateDir) encode(name string, v any, write func(int, string, []byte, fs.FileMode) error) error {
	b, err := json.Marshal(v)
	if err == nil {
		err = write(d.fd, name, append(b, '\n'), 0o600)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", filepath.Join(d.path, name), err)
	}
	return nil
}

// create opens a file of the directory for writing, and makes it if need be.
func (d stateDir) create(name string) (int, error) {
	return unix.Openat(d.fd, name, unix.O_WRONLY|unix.O_CREAT|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
}

func (d stateDir) remove(name string) { _ = unix.Unlinkat(d.fd, name, 0) }

// SPDX-License-Identifier: MPL-2.0

// Package sandbox runs programs that parse untrusted files, such as the tools of
// e2fsprogs.
//
// A program gets one file that it may change, and files that it may read. It runs as a
// user that nothing else runs as, without capabilities, devices and network. Landlock
// denies it every other file, or on kernels without Landlock a root directory that
// contains only the program and its libraries. A seccomp filter allows only the system
// calls that such programs need. Resource limits and the task's cgroup bound what the
// program consumes. It dies with the process that started it.
//
// Without root, the program keeps the user and the cgroup of its parent, and needs
// Landlock. Everything else is the same.
package sandbox

import (
	"errors"
	"os"
	"os/exec"
	"strconv"
	"sync"

	"github.com/lkl-nomad/nomad-driver-lkl/executor/cgroup"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/landlock"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/osthread"
)

// ErrUnsupported means that this machine cannot confine a program. The program has not
// been started.
var ErrUnsupported = errors.New("programs that process untrusted files cannot be confined on this host")

// ErrLimit means that a program was killed because it exceeded a limit that depends on its
// image. A damaged or malicious image is the likely reason.
var ErrLimit = errors.New("the program exceeded a limit")

// ErrMemory means that the kernel killed a program because the task's cgroup is out of
// memory.
var ErrMemory = errors.New("out of memory")

// Options are the files and limits of a program.
type Options struct {
	// Image is the file that the program may read and write, at ImagePath. It belongs
	// to the program's user until Wait returns.
	Image *os.File
	// Files are files that the program may read, at FilePath. It reopens them, so every
	// user must have permission to read them.
	Files []*os.File
	// MountTable lets the program read /proc/mounts. Some tools refuse to work without.
	MountTable bool
	Limits     Limits
	// Cgroup contains the task's cgroups, which must exist and have their limits.
	Cgroup cgroup.Spec
}

// ImagePath is the path at which a program finds Options.Image. It names a descriptor: the
// path of an image may be replaced, or contain characters that a program interprets.
const ImagePath = "/proc/self/fd/3"

// fileFD is the program's descriptor of the first element of Options.Files.
const fileFD = 4

// FilePath returns the path at which a program finds an element of Options.Files.
func FilePath(index int) string { return "/proc/self/fd/" + strconv.Itoa(fileFD+index) }

// A Process is a confined program. The caller must call Wait.
type Process struct {
	cmd  *exec.Cmd
	wait func() error
}

// Start starts a program that is confined from its first instruction. cmd has the
// program's path, arguments, environment and standard files. No standard file may be nil,
// because os/exec would open a device for it. Start sets the other fields of cmd.
func Start(cmd *exec.Cmd, o Options) (*Process, error) {
	if landlock.Version() == 0 {
		return start(cmd, o, byRootDirectory)
	}
	return start(cmd, o, byLandlock)
}

// A method keeps a program away from the files of the host.
type method int

const (
	byLandlock method = iota
	byRootDirectory
)

func start(cmd *exec.Cmd, o Options, m method) (*Process, error) {
	group, err := o.Cgroup.Group()
	if err != nil {
		return nil, err
	}
	type result struct {
		image *loan
		err   error
	}
	started, ended := make(chan result, 1), make(chan struct{})
	go func() {
		_ = osthread.Run(func() error {
			image, err := launch(cmd, o, m)
			started <- result{image, err}
			if err == nil {
				<-ended // the program dies with this thread
			}
			return nil
		})
	}()
	r := <-started
	if r.err != nil {
		return nil, r.err
	}
	return &Process{cmd: cmd, wait: sync.OnceValue(func() error {
		defer close(ended)
		err := explain(cmd.Wait(), o.Limits, group)
		return errors.Join(err, r.image.giveBack())
	})}, nil
}

// Wait waits for the end of the program. Its error explains which limit the program
// exceeded. Further calls return the same error.
func (p *Process) Wait() error { return p.wait() }

// Kill kills the program. The caller still calls Wait.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // fails only if the program has exited
}

// SPDX-License-Identifier: MPL-2.0

package e2fsprogs

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/bpf"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/osthread"
)

// startInDirectory starts a tool that reads a directory of the host. Only its reading of
// files is restricted.
func (c *Cmd) startInDirectory() (process, error) {
	c.exec.Dir = "/"
	c.exec.ExtraFiles = []*os.File{c.image, c.Directory}
	err := osthread.Run(func() error {
		err := restrictReading(c.Directory, c.image)
		if err != nil && (c.RequireConfinement || !errors.Is(err, ErrConfine)) {
			return err
		}
		ignoreFsync()
		return c.exec.Start()
	})
	return plainProcess{c.exec}, err
}

type plainProcess struct{ cmd *exec.Cmd }

func (p plainProcess) Wait() error { return p.cmd.Wait() }
func (p plainProcess) Kill()       { _ = p.cmd.Process.Kill() }

var auditArch = map[string]uint32{
	"amd64": unix.AUDIT_ARCH_X86_64,
	"arm64": unix.AUDIT_ARCH_AARCH64,
}

// ignoreFsync makes fsync and fdatasync succeed without effect in the calling thread and
// in its children. Without seccomp in the kernel it does nothing.
//
// e2fsprogs syncs the image in each run. For a new copy this writes all of its blocks,
// which takes as long as making it. The callers sync images that must survive a crash.
func ignoreFsync() {
	const succeed = unix.SECCOMP_RET_ERRNO // with errno 0
	var filter bpf.Program
	filter.Load(bpf.Arch)
	filter.ReturnIf(bpf.NotEqual(auditArch[runtime.GOARCH]), unix.SECCOMP_RET_ALLOW)
	filter.Load(bpf.Number)
	filter.ReturnIf(bpf.Equal(unix.SYS_FSYNC), succeed)
	filter.ReturnIf(bpf.Equal(unix.SYS_FDATASYNC), succeed)
	filter.Return(unix.SECCOMP_RET_ALLOW)

	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != nil {
		return
	}
	_, _, _ = unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&program)))
	runtime.KeepAlive(filter)
}

// SPDX-License-Identifier: MPL-2.0

package jail

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/files"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/bpf"
)

// The probe is this test binary, started as a file server. It confines itself with the layers
// that the first packet on its socket names, attempts what a server must not do, and sends
// a packet for each attempt with another result than expected.

// The layers: each contains the one before.
const (
	layerRoot     = "root directory and user"
	layerRemount  = "root directory and user, without mount_setattr" // as before Linux 5.12
	layerLandlock = "Landlock"
	layerFilter   = "filter"
)

// probeDone is the last packet of a probe.
const probeDone = "done"

// An order is the first packet to a probe.
type order struct {
	layers string
	parent int // a process of the host
}

func (o order) encode() string { return fmt.Sprintf("%s/%d", o.layers, o.parent) }

// isProbe reports whether Start has started this test binary.
func isProbe() bool { return os.Args[0] == files.Program && os.Getpid() == 1 }

func probe() int {
	var packet [256]byte
	n, err := unix.Read(connFD, packet[:])
	if err != nil {
		return 3
	}
	layers, parent, _ := strings.Cut(string(packet[:n]), "/")
	p := &prober{layers: layers}
	if _, err := fmt.Sscan(parent, &p.parent); err != nil {
		return 3
	}
	if layers == layerFilter {
		return Main(func(in Inside) (*prober, error) { p.in = in; return p, nil })
	}
	if p.in, err = enterWithoutFilter(layers); err == nil {
		_, err = unix.Write(reportFD, []byte(ready))
	}
	if err != nil {
		_, _ = unix.Write(reportFD, []byte(err.Error()))
		return 3
	}
	_ = p.Serve()
	return 0
}

// enterWithoutFilter takes the steps of enter for the other layers.
func enterWithoutFilter(layers string) (in Inside, err error) {
	if err := checkStarter(); err != nil {
		return in, err
	}
	if in.Plan, err = readPlan(); err != nil {
		return in, err
	}
	for i := range in.Plan.Shares {
		in.Roots = append(in.Roots, firstShare+i)
	}
	if layers == layerRemount {
		if err := withoutMountSetattr().InstallFilter(); err != nil {
			return in, err
		}
	}
	if err := errors.Join(closeOthers(len(in.Roots)), enterRoot(in.Plan, in.Roots)); err != nil {
		return in, err
	}
	if in.ProcSelfFD, err = unix.Open(procSelfFD, unix.O_PATH|unix.O_CLOEXEC, 0); err != nil {
		return in, err
	}
	err = errors.Join(setLimits(), dropPrivileges(in.Plan))
	if err == nil && layers == layerLandlock {
		err = restrictFiles(in.Plan, in.Roots)
	}
	return in, err
}

// withoutMountSetattr returns a filter for a kernel that lacks mount_setattr(2).
func withoutMountSetattr() (p bpf.Program) {
	p.Load(bpf.Number)
	p.ReturnIf(bpf.Equal(unix.SYS_MOUNT_SETATTR), refuseCall)
	p.Return(allowCall)
	return p
}

type prober struct {
	in     Inside
	layers string
	parent int
}

// Serve makes all attempts.
func (p *prober) Serve() error {
	for _, a := range append(p.files(), p.calls()...) {
		want := map[string]error{layerRoot: a.root, layerRemount: a.root, layerLandlock: a.landlock, layerFilter: a.filter}[p.layers]
		if errors.Is(want, errNotAttempted) {
			continue
		}
		if err := a.call(); !errors.Is(err, want) {
			p.send(fmt.Sprintf("%s: %v instead of %v", a.name, err, want))
		}
	}
	p.send(probeDone)
	return nil
}

func (p *prober) send(text string) { _, _ = unix.Write(connFD, []byte(text)) }

// An attempt is a system call, with its expected error for each set of layers.
type attempt struct {
	name                   string
	root, landlock, filter error
	call                   func() error
}

// errNotAttempted stands for a call that a set of layers does not refuse, with an effect on
// this process.
var errNotAttempted = errors.New("not attempted")

// opens attempts to open a path, with the same result for all layers.
func opens(path string, flags int, want error) attempt {
	return attempt{"open " + path, want, want, want, func() error { return open(unix.AT_FDCWD, path, flags) }}
}

func open(dir int, path string, flags int) error {
	fd, err := unix.Openat(dir, path, flags|unix.O_CLOEXEC, 0o666)
	if err == nil {
		_ = unix.Close(fd)
	}
	return err
}

// files are attempts to reach files. Share 0 is writable, and 1 is read-only. Share 2 is a
// file.
func (p *prober) files() []attempt {
	rw, ro := p.in.Roots[0], p.in.Roots[1]
	all := []attempt{
		opens("/etc/passwd", unix.O_RDONLY, unix.ENOENT),
		opens("/0/../../../../etc/passwd", unix.O_RDONLY, unix.ENOENT),
		opens("/0/link", unix.O_RDONLY, unix.ENOENT), // leads to /etc/passwd
		opens("/0/up", unix.O_RDONLY, unix.ENOENT),   // leads to ../../../etc/passwd
		opens("/proc/1/environ", unix.O_RDONLY, unix.ENOENT),
		opens("/proc/self/environ", unix.O_RDONLY, unix.ENOENT),
		opens("/proc/self/fd/../environ", unix.O_RDONLY, unix.ENOENT),
		opens("/proc/self/mem", unix.O_RDWR, unix.ENOENT),
		opens("/0/device", unix.O_RDONLY, unix.EACCES),
		opens("/0/fresh", unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY, nil),
		opens("/1/file", unix.O_RDONLY, nil),
		opens("/1/mount/file", unix.O_RDONLY, nil),
		opens("/2", unix.O_RDWR, nil),
		opens("/0/logs/file", unix.O_RDONLY, nil),
		{"leave a share by ..", unix.ENOENT, unix.ENOENT, unix.ENOENT, func() error { return open(rw, "../etc/passwd", unix.O_RDONLY) }},
		{"leave /proc/self/fd by ..", unix.ENOENT, unix.ENOENT, unix.ENOENT, func() error { return open(p.in.ProcSelfFD, "../environ", unix.O_RDONLY) }},
		{"reopen a descriptor", nil, nil, nil, func() error { return open(p.in.ProcSelfFD, fmt.Sprint(rw), unix.O_RDONLY|unix.O_DIRECTORY) }},
		{"reopen /dev/null", nil, unix.EACCES, unix.EACCES, func() error { return open(p.in.ProcSelfFD, "0", unix.O_RDWR) }},
		{"create a file in the root directory", unix.EROFS, unix.EROFS, unix.EROFS, func() error { return open(unix.AT_FDCWD, "/new", unix.O_CREAT|unix.O_WRONLY) }},
		{"link a file of another share", unix.EXDEV, unix.EXDEV, unix.EXDEV, func() error { return unix.Linkat(ro, "file", rw, "hard", 0) }},
		{"create a device node", unix.EPERM, unix.EACCES, unix.EPERM, func() error { return unix.Mknodat(rw, "zero", unix.S_IFCHR|0o666, 0x105) }},
		{"create a block device node", unix.EPERM, unix.EACCES, unix.EPERM, func() error { return unix.Mknodat(rw, "disk", unix.S_IFBLK|0o666, 0x800) }},
		{"create a FIFO", nil, nil, nil, func() error { return unix.Mknodat(rw, "fifo", unix.S_IFIFO|0o666, 0) }},
		{"create a socket", nil, nil, nil, func() error { return unix.Mknodat(rw, "socket", unix.S_IFSOCK|0o666, 0) }},
		{"execute a program", unix.EACCES, unix.EACCES, unix.ENOSYS, func() error { return unix.Exec("/0/program", nil, nil) }},
	}
	for _, dir := range []struct {
		name string
		fd   int
		path string
	}{{"a read-only share", ro, ""}, {"a mount in it", ro, "mount/"}, {"a read-only directory", rw, "logs/"}} {
		all = append(all, writes(dir.name, dir.fd, dir.path)...)
	}
	for _, a := range []attempt{
		{name: "rename a read-only directory", call: func() error { return unix.Renameat2(rw, "logs", rw, "other", 0) }},
		{name: "remove a read-only directory", call: func() error { return unix.Unlinkat(rw, "logs", unix.AT_REMOVEDIR) }},
	} {
		a.root, a.landlock, a.filter = unix.EBUSY, unix.EBUSY, unix.EBUSY
		all = append(all, a)
	}
	return all
}

// writes are attempts to change a file of a directory that is read-only. All of them fail
// with EROFS: the kernel checks the mount first.
func writes(name string, dir int, path string) (all []attempt) {
	file := path + "file"
	for what, call := range map[string]func() error{
		"open a file for writing":         func() error { return open(dir, file, unix.O_RDWR) },
		"truncate a file":                 func() error { return open(dir, file, unix.O_WRONLY|unix.O_TRUNC) },
		"create a file":                   func() error { return open(dir, path+"new", unix.O_CREAT|unix.O_WRONLY) },
		"create a directory":              func() error { return unix.Mkdirat(dir, path+"new", 0o777) },
		"create a FIFO":                   func() error { return unix.Mknodat(dir, path+"new", unix.S_IFIFO|0o666, 0) },
		"create a symbolic link":          func() error { return unix.Symlinkat("target", dir, path+"new") },
		"create a hard link":              func() error { return unix.Linkat(dir, file, dir, path+"new", 0) },
		"rename a file":                   func() error { return unix.Renameat2(dir, file, dir, path+"new", 0) },
		"remove a file":                   func() error { return unix.Unlinkat(dir, file, 0) },
		"change a mode":                   func() error { return unix.Fchmodat(dir, file, 0o777, 0) },
		"change an owner":                 func() error { return unix.Fchownat(dir, file, os.Getuid(), os.Getgid(), 0) },
		"change times":                    func() error { return unix.UtimesNanoAt(dir, file, make([]unix.Timespec, 2), 0) },
		"change an attribute":             func() error { return changeAttribute(dir, file) },
		"write through a read descriptor": func() error { return writeThroughProc(dir, file) },
	} {
		all = append(all, attempt{what + " in " + name, unix.EROFS, unix.EROFS, unix.EROFS, call})
	}
	return all
}

func changeAttribute(dir int, file string) error {
	fd, err := unix.Openat(dir, file, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer closeAll([]int{fd})
	return unix.Fsetxattr(fd, "user.a", []byte("b"), 0)
}

func writeThroughProc(dir int, file string) error {
	fd, err := unix.Openat(dir, file, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer closeAll([]int{fd})
	return open(unix.AT_FDCWD, fmt.Sprintf("%s/%d", procSelfFD, fd), unix.O_WRONLY)
}

// Arguments of system calls, which the garbage collector must not move.
var (
	rootPath   = [8]byte{'/'}
	memoryPart = unix.Iovec{Len: 8}
)

// calls are other system calls. Those that the first layers permit have no effect outside of
// the process and its namespaces.
func (p *prober) calls() []attempt {
	raw := func(number uintptr, args ...uintptr) func() error {
		return func() error {
			var a [6]uintptr
			copy(a[:], args)
			_, _, errno := unix.Syscall6(number, a[0], a[1], a[2], a[3], a[4], a[5])
			if errno == 0 {
				return nil
			}
			return errno
		}
	}
	parent := uintptr(p.parent)
	root := uintptr(unsafe.Pointer(&rootPath[0]))
	handle := unix.NewFileHandle(1, make([]byte, 8)) // as those of most file systems
	memoryPart.Base = &rootPath[0]
	part := uintptr(unsafe.Pointer(&memoryPart))
	all := []attempt{
		{"signal the parent", unix.ESRCH, unix.ESRCH, unix.ENOSYS, raw(unix.SYS_KILL, parent, 0)},
		{"trace the parent", unix.ESRCH, unix.ESRCH, unix.ENOSYS, raw(unix.SYS_PTRACE, unix.PTRACE_ATTACH, parent)},
		{"open the parent's pidfd", unix.ESRCH, unix.ESRCH, unix.ENOSYS, raw(unix.SYS_PIDFD_OPEN, parent, 0)},
		{"read the parent's memory", unix.ESRCH, unix.ESRCH, unix.ENOSYS, raw(unix.SYS_PROCESS_VM_READV, parent, part, 1, part, 1)},
		{"signal a thread of another process", unix.ESRCH, errNotAttempted, unix.EPERM, raw(unix.SYS_TGKILL, parent, parent, 0)},
		{"open a file by its handle", unix.EPERM, unix.EPERM, unix.ENOSYS, func() error { return openByHandle(handle) }},
		{"mount", unix.EPERM, unix.EPERM, unix.ENOSYS, raw(unix.SYS_MOUNT, root, root, 0, unix.MS_BIND)},
		{"remount a share writable", unix.EPERM, unix.EPERM, unix.ENOSYS, raw(unix.SYS_MOUNT, root, root, 0, unix.MS_BIND|unix.MS_REMOUNT)},
		{"unmount", unix.EPERM, unix.EPERM, unix.ENOSYS, raw(unix.SYS_UMOUNT2, root, unix.MNT_DETACH)},
		{"chroot", unix.EPERM, unix.EPERM, unix.ENOSYS, raw(unix.SYS_CHROOT, root)},
		{"enter a namespace", unix.EINVAL, unix.EINVAL, unix.ENOSYS, raw(unix.SYS_SETNS, connFD, 0)},
		{"new process", errNotAttempted, errNotAttempted, unix.EPERM, raw(unix.SYS_CLONE, uintptr(unix.SIGCHLD))},
		{"executable memory", nil, nil, unix.EPERM, raw(unix.SYS_MMAP, 0, 4096, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS, ^uintptr(0), 0)},
		{"duplicate to a number", nil, nil, unix.EPERM, raw(unix.SYS_FCNTL, connFD, unix.F_GETFL)},
		{"internet socket", nil, nil, unix.ENOSYS, raw(unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC)},
		{"unix socket", nil, nil, unix.ENOSYS, raw(unix.SYS_SOCKET, unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC)},
		{"packet socket", unix.EPERM, unix.EPERM, unix.ENOSYS, raw(unix.SYS_SOCKET, unix.AF_PACKET, unix.SOCK_RAW)},
	}
	for name, number := range forbidden {
		all = append(all, attempt{name, errNotAttempted, errNotAttempted, unix.ENOSYS, raw(number)})
	}
	return all
}

func openByHandle(handle unix.FileHandle) error {
	dir, err := unix.Openat(unix.AT_FDCWD, "/0", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer closeAll([]int{dir})
	_, err = unix.OpenByHandleAt(dir, handle, unix.O_RDONLY)
	return err
}

// forbidden are system calls that only the filter refuses in each case.
var forbidden = map[string]uintptr{
	"clone3": unix.SYS_CLONE3, "execveat": unix.SYS_EXECVEAT,
	"unshare": unix.SYS_UNSHARE, "pivot_root": unix.SYS_PIVOT_ROOT, "open_tree": unix.SYS_OPEN_TREE, "move_mount": unix.SYS_MOVE_MOUNT,
	"fsopen": unix.SYS_FSOPEN, "mount_setattr": unix.SYS_MOUNT_SETATTR, "fanotify_init": unix.SYS_FANOTIFY_INIT,
	"name_to_handle_at": unix.SYS_NAME_TO_HANDLE_AT, "openat2": unix.SYS_OPENAT2,
	"setuid": unix.SYS_SETUID, "setresuid": unix.SYS_SETRESUID, "setgroups": unix.SYS_SETGROUPS, "prctl": unix.SYS_PRCTL,
	"ioctl": unix.SYS_IOCTL, "connect": unix.SYS_CONNECT, "bind": unix.SYS_BIND, "sendmsg": unix.SYS_SENDMSG, "recvmsg": unix.SYS_RECVMSG,
	"socketpair": unix.SYS_SOCKETPAIR, "memfd_create": unix.SYS_MEMFD_CREATE, "mprotect": unix.SYS_MPROTECT,
	"bpf": unix.SYS_BPF, "perf_event_open": unix.SYS_PERF_EVENT_OPEN, "userfaultfd": unix.SYS_USERFAULTFD,
	"io_uring_setup": unix.SYS_IO_URING_SETUP, "keyctl": unix.SYS_KEYCTL, "add_key": unix.SYS_ADD_KEY, "prlimit64": unix.SYS_PRLIMIT64,
	"shmget": unix.SYS_SHMGET, "msgget": unix.SYS_MSGGET, "reboot": unix.SYS_REBOOT, "init_module": unix.SYS_INIT_MODULE,
	"kexec_load": unix.SYS_KEXEC_LOAD, "personality": unix.SYS_PERSONALITY, "quotactl": unix.SYS_QUOTACTL, "syslog": unix.SYS_SYSLOG,
	"settimeofday": unix.SYS_SETTIMEOFDAY, "sethostname": unix.SYS_SETHOSTNAME, "landlock_create_ruleset": unix.SYS_LANDLOCK_CREATE_RULESET,
}

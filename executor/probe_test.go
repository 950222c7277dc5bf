// SPDX-License-Identifier: MPL-2.0

package executor

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/atomicfile"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/bpf"
	"github.com/lkl-nomad/nomad-driver-lkl/tender/spt"
)

// probeEnv makes this test binary confine itself like an executor, with the layers that
// its value names, and attempt what an executor must not do. It prints every attempt with
// another result than expected.
const probeEnv = "LKL_TEST_PROBE"

// The values of probeEnv: each has the layers of the one before.
const (
	layerUser     = "user"
	layerLandlock = "landlock"
	layerFilter   = "filter"
)

// Files of a probe, in its working directory. The probe may write to openDirectory by the
// permissions of the file system.
const (
	probeTask     = "task"
	probeRecord   = "task/task.json"
	openDirectory = "open"
	probeGuestUID = 1<<20 + 12345
)

// probe is the program. It returns the exit status.
func probe(layers string) int {
	t, err := startProbe()
	if err == nil {
		switch layers {
		case layerUser:
			err = t.giveUpRoot()
		case layerLandlock:
			err = errors.Join(t.giveUpRoot(), t.restrictFiles())
		case layerFilter:
			err = t.confine()
		}
	}
	if err != nil {
		report("confine: %v", err)
		return 1
	}
	for _, a := range t.attempts() {
		want := map[string]error{layerUser: a.user, layerLandlock: a.landlock, layerFilter: a.filter}[layers]
		if errors.Is(want, errNotAttempted) {
			continue
		}
		if err := a.call(); !errors.Is(err, want) {
			report("%s: %v instead of %v", a.name, err, want)
		}
	}
	exerciseRuntime()
	t.kill("the probe ends it")
	t.recordExit(time.Now())
	t.dir.remove(SocketFile)
	return 0
}

func report(format string, args ...any) {
	_, _ = unix.Write(1, []byte(fmt.Sprintf(format, args...)+"\n"))
}

// startProbe takes the steps of an executor up to confine, with sleep in place of a guest.
func startProbe() (*task, error) {
	unix.Umask(0o077)
	guest := exec.Command("sleep", "1000")
	guest.SysProcAttr = &syscall.SysProcAttr{
		Credential: &syscall.Credential{Uid: probeGuestUID, Gid: probeGuestUID}, Pdeathsig: syscall.SIGKILL,
	}
	runtime.LockOSThread() // Pdeathsig belongs to this thread
	if err := guest.Start(); err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(probeTask)
	if err != nil {
		return nil, err
	}
	t := &task{plan: &Plan{Dir: dir}, outputs: newOutputs(), uid: probeGuestUID}
	t.guest = &spt.Process{Pid: guest.Process.Pid}
	t.guestID = Process{Pid: guest.Process.Pid}
	group, err := t.plan.Cgroup.Group()
	if err != nil {
		return nil, err
	}
	if t.dir, err = openDir(dir); err != nil {
		return nil, err
	}
	if t.self, err = FindProcess(os.Getpid()); err != nil {
		return nil, err
	}
	if t.exitFile, err = atomicfile.ReserveAt(t.dir.fd, ExitFile, exitReserve); err != nil {
		return nil, err
	}
	if t.droppedFD, err = t.dir.create(DroppedFile); err != nil {
		return nil, err
	}
	if t.pidfd, err = unix.PidfdOpen(guest.Process.Pid, 0); err != nil {
		return nil, err
	}
	if t.cgroupFiles, err = group.Open(); err != nil {
		return nil, err
	}
	return t, errors.Join(t.listen(), t.writeIdentity())
}

// An attempt is a system call, with its expected error for each set of layers.
type attempt struct {
	name                   string
	call                   func() error
	user, landlock, filter error
}

// errNotAttempted stands for layers that do not prevent the call, which then has no place in
// the probe.
var errNotAttempted = errors.New("not attempted")

// denied is Landlock's error, and that of file permissions. The others are the filter's.
const denied, refused, badArgument = unix.EACCES, unix.ENOSYS, unix.EPERM

// attempts has what a confined executor must not do.
func (t *task) attempts() []attempt {
	return slices.Concat(t.fileAttempts(), t.processAttempts(), t.kernelAttempts())
}

func (t *task) fileAttempts() []attempt {
	open := func(path string, flags int) func() error {
		return func() error { return closeFD(unix.Open(path, flags|unix.O_CLOEXEC, 0o600)) }
	}
	dir := t.dir.fd
	const create = unix.O_WRONLY | unix.O_CREAT
	return []attempt{
		{"read a file of root", open("/etc/shadow", unix.O_RDONLY), denied, denied, refused},
		{"read a public file", open("/etc/passwd", unix.O_RDONLY), nil, denied, refused},
		{"read the record", open(probeRecord, unix.O_RDONLY), denied, denied, refused},
		{"write the record", open(probeRecord, unix.O_WRONLY), denied, denied, refused},
		{"write a kernel setting", open("/proc/sys/kernel/core_pattern", unix.O_WRONLY), denied, denied, refused},
		{"create a file elsewhere", open(openDirectory+"/new", create), nil, denied, refused},
		{"create a file", func() error { return closeFD(unix.Openat(dir, "new", create, 0o600)) }, nil, denied, refused},
		{"create a link", func() error { return unix.Symlinkat("/etc/passwd", dir, "link") }, nil, denied, refused},
		{"create a directory", func() error { return unix.Mkdirat(dir, "directory", 0o700) }, nil, denied, refused},
		{"remove the record", func() error { return unix.Unlinkat(dir, "task.json", 0) }, unix.EPERM, unix.EPERM, unix.EPERM},
		{
			"replace the record", func() error { return unix.Renameat(dir, DroppedFile, dir, "task.json") },
			unix.EPERM, unix.EPERM, unix.EPERM,
		},
		{"remove a file elsewhere", func() error { return unix.Unlink(openDirectory + "/file") }, errNotAttempted, denied, denied},
		{"execute a program", func() error { return unix.Exec("/bin/true", nil, nil) }, errNotAttempted, denied, refused},
	}
}

// processAttempts are about other processes. The process that started the probe stands for
// a process of root.
func (t *task) processAttempts() []attempt {
	root := os.Getppid()
	const signal0 = 0
	return []attempt{
		{"signal a process of root", func() error { return unix.Kill(root, signal0) }, unix.EPERM, unix.EPERM, refused},
		{"signal a thread of root", func() error { return unix.Tgkill(root, root, signal0) }, unix.EPERM, unix.EPERM, badArgument},
		{"trace a process of root", func() error { return unix.PtraceSeize(root) }, unix.EPERM, unix.EPERM, refused},
		{"become root", func() error { return unix.Setuid(0) }, unix.EPERM, unix.EPERM, refused},
		{"mount", func() error { return unix.Mount("none", "/mnt", "tmpfs", 0, "") }, unix.EPERM, unix.EPERM, refused},
		onlyFiltered("open a pidfd", refused, unix.SYS_PIDFD_OPEN, uintptr(root)),
		onlyFiltered("read memory of root", refused, unix.SYS_PROCESS_VM_READV, uintptr(root)),
		onlyFiltered("create a process", badArgument, unix.SYS_CLONE, uintptr(unix.SIGCHLD)),
		onlyFiltered("create a process by clone3", refused, unix.SYS_CLONE3),
		onlyFiltered("create a namespace", refused, unix.SYS_UNSHARE, unix.CLONE_NEWUSER),
	}
}

// kernelAttempts reach parts of the kernel that only the filter closes.
func (t *task) kernelAttempts() []attempt {
	var frame [1]byte
	address := unix.RawSockaddrUnix{Family: unix.AF_UNIX}
	return []attempt{
		onlyFiltered("create a socket", refused, unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_STREAM),
		onlyFiltered("send to an address", badArgument, unix.SYS_SENDTO, uintptr(t.listener), uintptr(unsafe.Pointer(&frame)), 1,
			0, uintptr(unsafe.Pointer(&address)), unsafe.Sizeof(address)),
		onlyFiltered("send a message", refused, unix.SYS_SENDMSG, uintptr(t.listener)),
		onlyFiltered("map executable memory", badArgument, unix.SYS_MMAP, 0, 4096, unix.PROT_EXEC,
			unix.MAP_PRIVATE|unix.MAP_ANONYMOUS, ^uintptr(0)),
		onlyFiltered("make memory executable", refused, unix.SYS_MPROTECT, 0, 4096, unix.PROT_EXEC),
		onlyFiltered("load a BPF program", refused, unix.SYS_BPF, unix.BPF_PROG_LOAD),
		onlyFiltered("set up an io_uring", refused, unix.SYS_IO_URING_SETUP, 1),
		onlyFiltered("use another ABI", refused, bpf.X32Bit|unix.SYS_READ, ^uintptr(0)),
	}
}

// onlyFiltered is an attempt that only the filter prevents.
func onlyFiltered(name string, want error, number uintptr, args ...uintptr) attempt {
	var a [6]uintptr
	copy(a[:], args)
	return attempt{name, func() error {
		if _, _, errno := unix.Syscall6(number, a[0], a[1], a[2], a[3], a[4], a[5]); errno != 0 {
			return errno
		}
		return nil
	}, errNotAttempted, errNotAttempted, want}
}

func closeFD(fd int, err error) error {
	if err == nil {
		_ = unix.Close(fd)
	}
	return err
}

// exerciseRuntime makes Go's runtime do all that it may do in a long life: start threads,
// collect garbage, return memory, wait for timers. A refused system call would end the
// process.
func exerciseRuntime() {
	const threads = 20
	started, finish := make(chan struct{}), make(chan struct{})
	for range threads {
		go func() {
			runtime.LockOSThread()
			started <- struct{}{}
			<-finish
		}()
	}
	for range threads {
		<-started
	}
	for range 4 {
		kept := make([][]byte, 50)
		for i := range kept {
			kept[i] = make([]byte, 1<<20)
		}
		runtime.KeepAlive(kept)
		runtime.GC()
	}
	debug.FreeOSMemory()
	fired := make(chan struct{})
	time.AfterFunc(time.Millisecond, func() { close(fired) })
	<-fired
	close(finish) // ends the threads
	report("%d threads", threads)
}

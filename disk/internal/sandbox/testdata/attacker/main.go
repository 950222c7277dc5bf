// SPDX-License-Identifier: MPL-2.0

// Attacker is a program that has been taken over by its input: it tries to get out of the
// sandbox. It prints the result of each attempt as "NAME: ERRNO", with 0 for success.
//
// Usage: attacker PARENT DEVICE FILE DIRECTORY, where PARENT is the process that started
// the sandbox, and any user of the host may write to the others.
package main

import (
	"fmt"
	"os"
	"strconv"
	"syscall"
	"unsafe"
)

// Numbers and constants of Linux on amd64 that package syscall lacks.
const (
	sysProcessVMReadv = 310
	sysMemfdCreate    = 319
	sysBPF            = 321
	sysUserfaultfd    = 323
	sysIOUringSetup   = 425
	sysPidfdOpen      = 434
	sysClone3         = 435
	prSetSeccomp      = 22
)

func main() {
	if os.Args[1] == "allocate" {
		allocate()
		return
	}
	parent, err := strconv.Atoi(os.Args[1])
	if err != nil {
		report("arguments", syscall.EINVAL)
		return
	}
	device, file, directory := os.Args[2], os.Args[3], os.Args[4]
	openFiles(parent, device, file, directory)
	changeFiles(file, directory)
	reachProcesses(parent)
	gainPrivileges()
}

func openFiles(parent int, device, file, directory string) {
	open("read a secret", "/etc/shadow", syscall.O_RDONLY)
	open("read a public file", "/etc/passwd", syscall.O_RDONLY)
	open("list a directory", "/root", syscall.O_RDONLY|syscall.O_DIRECTORY)
	open("read a file", file, syscall.O_RDONLY)
	open("write a file", file, syscall.O_WRONLY)
	open("create a file", directory+"/new", syscall.O_WRONLY|syscall.O_CREAT)
	open("open a device", device, syscall.O_RDWR)
	open("open /dev/null", "/dev/null", syscall.O_RDWR)
	open("memory of the parent", fmt.Sprintf("/proc/%d/mem", parent), syscall.O_RDWR)
	open("environment of the parent", fmt.Sprintf("/proc/%d/environ", parent), syscall.O_RDONLY)
	open("own memory", "/proc/self/mem", syscall.O_RDWR)
	open("image", "/proc/self/fd/3", syscall.O_RDWR)
	open("file for reading", "/proc/self/fd/4", syscall.O_RDONLY)
	open("write to the file for reading", "/proc/self/fd/4", syscall.O_RDWR)
}

func changeFiles(file, directory string) {
	attempt("mknod", syscall.SYS_MKNOD, text(directory+"/node"), syscall.S_IFBLK|0o600, 0x700)
	attempt("mkdir", syscall.SYS_MKDIR, text(directory+"/dir"), 0o700)
	attempt("symlink", syscall.SYS_SYMLINK, text("/"), text(directory+"/link"))
	attempt("unlink", syscall.SYS_UNLINK, text(file))
	attempt("rename", syscall.SYS_RENAME, text(file), text(directory+"/renamed"))
	attempt("chmod", syscall.SYS_FCHMOD, 3, 0o777)
	attempt("chown", syscall.SYS_FCHOWN, 3, 0, 0)
}

func reachProcesses(parent int) {
	report("execute another program", syscall.Exec("/bin/true", []string{"true"}, nil))
	attempt("fork", syscall.SYS_FORK)
	attempt("vfork", syscall.SYS_VFORK)
	attempt("clone", syscall.SYS_CLONE, uintptr(syscall.SIGCHLD))
	attempt("clone3", sysClone3)
	attempt("internet socket", syscall.SYS_SOCKET, syscall.AF_INET, syscall.SOCK_STREAM)
	attempt("unix socket", syscall.SYS_SOCKET, syscall.AF_UNIX, syscall.SOCK_STREAM)
	attempt("packet socket", syscall.SYS_SOCKET, syscall.AF_PACKET, syscall.SOCK_RAW)
	attempt("ptrace", syscall.SYS_PTRACE, syscall.PTRACE_ATTACH, uintptr(parent))
	attempt("read the parent's memory", sysProcessVMReadv, uintptr(parent))
	attempt("kill", syscall.SYS_KILL, uintptr(parent), uintptr(syscall.SIGKILL))
	attempt("tgkill", syscall.SYS_TGKILL, uintptr(parent), uintptr(parent), uintptr(syscall.SIGKILL))
	attempt("pidfd_open", sysPidfdOpen, uintptr(parent))
}

func gainPrivileges() {
	attempt("mount", syscall.SYS_MOUNT, text("none"), text("/"), text("tmpfs"), 0, 0)
	attempt("chroot", syscall.SYS_CHROOT, text("/"))
	attempt("unshare", syscall.SYS_UNSHARE, syscall.CLONE_NEWUSER)
	attempt("setuid", syscall.SYS_SETUID, 0)
	attempt("prctl", syscall.SYS_PRCTL, prSetSeccomp, 0)
	attempt("memfd_create", sysMemfdCreate, text("x"), 0)
	attempt("bpf", sysBPF)
	attempt("userfaultfd", sysUserfaultfd)
	attempt("io_uring", sysIOUringSetup, 1)
	attempt("terminal ioctl", syscall.SYS_IOCTL, 0, syscall.TIOCSTI)
	var limit syscall.Rlimit
	attempt("change a limit", syscall.SYS_PRLIMIT64, 0, syscall.RLIMIT_NOFILE, uintptr(unsafe.Pointer(&limit)), 0)
}

func text(s string) uintptr {
	p, _ := syscall.BytePtrFromString(s)
	return uintptr(unsafe.Pointer(p))
}

func open(name, path string, flags int) {
	fd, err := syscall.Open(path, flags|syscall.O_NONBLOCK, 0o600)
	if err == nil {
		_ = syscall.Close(fd)
	}
	report(name, err)
}

func attempt(name string, number uintptr, args ...uintptr) {
	var a [6]uintptr
	copy(a[:], args)
	result, _, errno := syscall.RawSyscall6(number, a[0], a[1], a[2], a[3], a[4], a[5])
	if errno == 0 && result == 0 && (name == "fork" || name == "vfork" || name == "clone") {
		os.Exit(0) // the child
	}
	if errno != 0 {
		report(name, errno)
		return
	}
	report(name, nil)
}

func report(name string, err error) {
	errno, _ := err.(syscall.Errno)
	fmt.Printf("%s: %d\n", name, int(errno))
}

// allocate uses memory until the program is killed.
func allocate() {
	var kept [][]byte
	for {
		block := make([]byte, 1<<20)
		for i := range block {
			block[i] = 1
		}
		kept = append(kept, block)
		_ = kept
	}
}

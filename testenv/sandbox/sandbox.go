// SPDX-License-Identifier: MPL-2.0

// Package sandbox runs a program in a corner of the machine of its own: its own
// network, its own mounts and its own process tree. A real Nomad agent in there
// makes bridges, rules, namespaces and mounts as it does anywhere, and none of
// them reaches the machine; when the program ends, however it ends, the kernel
// ends every process that it left and removes the rest.
//
// Cgroups are the one thing that is shared with the machine: at the end those
// of the sandbox's allocs are removed by name.
package sandbox

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// The link that agents in the sandbox use: its name, address and prefix.
const (
	Link    = "e2e0"
	Address = "10.111.0.1"
	prefix  = 24
)

// The role of this process, in its environment.
const (
	roleKey  = "LKL_E2E_SANDBOX"
	roleInit = "init" // process 1 of the sandbox: sets it up, reaps orphans
	roleBody = "body" // runs the program itself
	dirKey   = "LKL_E2E_DIR"
)

// Interrupted is the exit code of a body that was told to end, as of a shell's
// command after ^C.
const Interrupted = 130

// Dir is the sandbox's directory for files: short, so that sockets fit in it,
// on the machine's own disk, and removed at the end unless the program failed.
func Dir() string { return os.Getenv(dirKey) }

// Run calls body inside a sandbox and returns its exit code. It starts this
// very executable again, with the same arguments, so call it first thing in
// main or TestMain. Only root can make a sandbox.
func Run(body func() int) int {
	switch os.Getenv(roleKey) {
	case roleBody:
		return body()
	case roleInit:
		code, err := runInit()
		if err != nil {
			fmt.Fprintln(os.Stderr, "sandbox:", err)
			return 1
		}
		return code
	default:
		code, err := runOutside()
		if err != nil {
			fmt.Fprintln(os.Stderr, "sandbox:", err)
			return 1
		}
		return code
	}
}

// runOutside makes the namespaces with a child in them and waits for its end.
func runOutside() (code int, err error) {
	dir, err := os.MkdirTemp("", "lkl-e2e-")
	if err != nil {
		return 0, err
	}
	defer func() {
		removeCgroups(dir)
		if err == nil && (code == 0 || code == Interrupted) {
			err = os.RemoveAll(dir)
			return
		}
		fmt.Fprintln(os.Stderr, "logs and state are kept in", dir)
	}()
	// The parent-death signal is the thread's, not the process's.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)

	cmd := again(roleInit)
	cmd.Env = append(cmd.Env, dirKey+"="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWPID,
		Pdeathsig:  syscall.SIGKILL,
	}
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("make namespaces for the network, mounts and processes (needs root): %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case sig := <-signals:
			_ = cmd.Process.Signal(sig)
		case err := <-ended:
			return exitCode(err)
		}
	}
}

// runInit is process 1: it sets the sandbox up, starts the body and reaps
// whatever is orphaned until the body ends. Its own end is everybody's.
func runInit() (int, error) {
	if err := mounts(Dir()); err != nil {
		return 0, err
	}
	if err := links(); err != nil {
		return 0, err
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	cmd := again(roleBody)
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	go func() {
		for sig := range signals {
			_ = cmd.Process.Signal(sig)
		}
	}()
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return 0, fmt.Errorf("wait for the sandbox's processes: %w", err)
		case pid == cmd.Process.Pid && status.Signaled():
			return 128 + int(status.Signal()), nil
		case pid == cmd.Process.Pid && status.Exited():
			return status.ExitStatus(), nil
		}
	}
}

func again(role string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), roleKey+"="+role)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	return cmd
}

func exitCode(err error) (int, error) {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return 0, err
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal()), nil
	}
	return exit.ExitCode(), nil
}

// mounts makes the mount tree private and lays writable copies of nothing over
// the directories where Nomad, CNI and the network tools keep their records. The
// machine's own network namespaces, which come and go meanwhile, are not seen.
func mounts(dir string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make the mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mount /proc of the new process tree: %w", err)
	}
	scratch := filepath.Join(dir, "scratch")
	if err := os.Mkdir(scratch, 0o755); err != nil {
		return err
	}
	if err := unix.Mount("scratch", scratch, "tmpfs", 0, "mode=0755"); err != nil {
		return fmt.Errorf("mount a tmpfs on %s: %w", scratch, err)
	}
	for _, target := range []string{"/run", "/var/lib"} {
		if err := overlay(target, filepath.Join(scratch, filepath.Base(target))); err != nil {
			return err
		}
	}
	const named = "/run/netns"
	if err := os.MkdirAll(named, 0o755); err != nil {
		return err
	}
	if err := unix.Mount("netns", named, "tmpfs", 0, "mode=0755"); err != nil {
		return fmt.Errorf("mount a tmpfs on %s: %w", named, err)
	}
	return nil
}

// overlay leaves what target holds readable and sends every write to scratch.
func overlay(target, scratch string) error {
	upper, work := filepath.Join(scratch, "upper"), filepath.Join(scratch, "work")
	if err := errors.Join(os.MkdirAll(upper, 0o755), os.MkdirAll(work, 0o755)); err != nil {
		return err
	}
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", target, upper, work)
	if err := unix.Mount("overlay", target, "overlay", 0, options); err != nil {
		return fmt.Errorf("lay an overlay over %s: %w", target, err)
	}
	return nil
}

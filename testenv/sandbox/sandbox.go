// SPDX-License-Identifier: MPL-2.0

// Package sandbox runs a program in new namespaces for the network, mounts and
// processes. A Nomad agent in the sandbox makes bridges, rules, namespaces and
// mounts that do not exist outside of it. When the program ends, for any reason,
// the kernel kills all processes of the sandbox and removes the rest.
//
// The sandbox shares the cgroups with the machine. At its end, it removes those of
// its allocs by name.
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

// The names, the addresses and the prefix of the links that agents use.
const (
	Link          = "e2e0"
	Address       = "10.111.0.1"
	SecondLink    = "e2e1"
	SecondAddress = "10.112.0.1"
	prefix        = 24
)

// Environment variables: the role of a process, and the directory.
const (
	roleKey  = "LKL_E2E_SANDBOX"
	roleInit = "init" // process 1 of the sandbox: sets it up, reaps orphans
	roleBody = "body" // runs the program itself
	dirKey   = "LKL_E2E_DIR"
)

// Interrupted is the exit code of a body that a signal has interrupted, as in a
// shell.
const Interrupted = 130

// Dir returns the sandbox's directory for files. It is on the machine's disk, and its
// path is short enough for sockets. The sandbox removes it at the end, unless the
// program failed.
func Dir() string { return os.Getenv(dirKey) }

// Run calls body in a sandbox and returns its exit code. It starts this executable
// again with the same arguments, so main or TestMain must call it first. It needs
// root.
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

// runOutside starts a child in new namespaces and waits for its end.
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
		fmt.Fprintln(os.Stderr, "logs and state are in", dir)
	}()
	// Pdeathsig takes effect at the end of the thread, not of the process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)

	cmd := restart(roleInit)
	cmd.Env = append(cmd.Env, dirKey+"="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWPID,
		Pdeathsig:  syscall.SIGKILL,
	}
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("create namespaces for the network, mounts and processes (needs root): %w", err)
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

// runInit is process 1 of the sandbox. It sets up mounts and links, starts the body,
// and reaps orphans until the body ends. At its end, the kernel kills all other
// processes of the sandbox.
func runInit() (int, error) {
	if err := setUpMounts(Dir()); err != nil {
		return 0, err
	}
	if err := setUpLinks(); err != nil {
		return 0, err
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	cmd := restart(roleBody)
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

func restart(role string) *exec.Cmd {
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

// setUpMounts makes the mount tree private, and mounts overlays on the directories
// in which Nomad, CNI and the network tools keep records. It hides the named network
// namespaces of the machine, which other programs may change during the run.
func setUpMounts(dir string) error {
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

// overlay mounts an overlay on target. Its files stay readable, and writes go to
// scratch.
func overlay(target, scratch string) error {
	upper, work := filepath.Join(scratch, "upper"), filepath.Join(scratch, "work")
	if err := errors.Join(os.MkdirAll(upper, 0o755), os.MkdirAll(work, 0o755)); err != nil {
		return err
	}
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", target, upper, work)
	if err := unix.Mount("overlay", target, "overlay", 0, options); err != nil {
		return fmt.Errorf("mount an overlay on %s: %w", target, err)
	}
	return nil
}

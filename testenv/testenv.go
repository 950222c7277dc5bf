// SPDX-License-Identifier: MPL-2.0

package testenv

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
)

// A Requirement is something that a test needs from the machine.
type Requirement struct {
	name   string
	device bool
	check  func() error
}

var (
	// Root is the superuser.
	Root = Requirement{name: "root", check: func() error {
		if os.Geteuid() != 0 {
			return errors.New("run the tests as root")
		}
		return nil
	}}
	// KVM is access to /dev/kvm.
	KVM = device("/dev/kvm")
	// Tun is access to /dev/net/tun, for taps.
	Tun = device("/dev/net/tun")
	// FUSE is access to /dev/fuse.
	FUSE = device("/dev/fuse")
	// Loop is access to /dev/loop-control, for loop devices.
	Loop = device("/dev/loop-control")
	// Fuse is access to /dev/fuse, for FUSE mounts.
	Fuse = device("/dev/fuse")
)

// Tool is a program on the PATH.
func Tool(name string) Requirement {
	return Requirement{name: name, check: func() error {
		_, err := exec.LookPath(name)
		return err
	}}
}

func device(path string) Requirement {
	return Requirement{name: path, device: true, check: func() error {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		return f.Close()
	}}
}

// Need skips the test unless the machine meets every requirement.
func Need(t testing.TB, needs ...Requirement) {
	t.Helper()
	for _, need := range needs {
		if err := need.check(); err != nil {
			missing(t, need.device, "needs "+need.name+": "+err.Error())
		}
	}
}

// Guest returns the path of a unikernel in build/guest, such as "hello.spt".
func Guest(t testing.TB, name string) string {
	t.Helper()
	return built(t, filepath.Join("build", "guest", name), "make guests")
}

// Plugin returns the path of the built plugin.
func Plugin(t testing.TB) string {
	t.Helper()
	return built(t, filepath.Join("build", "nomad-driver-lkl"), "make build")
}

// LKL returns the path of the built command lkl.
func LKL(t testing.TB) string {
	t.Helper()
	return built(t, filepath.Join("build", "lkl"), "make build")
}

// Executor returns the path of the built executor.
func Executor(t testing.TB) string {
	t.Helper()
	return built(t, filepath.Join("build", "lkl-executor"), "make build")
}

// FileServer returns the path of the built file server.
func FileServer(t testing.TB) string {
	t.Helper()
	return built(t, filepath.Join("build", "lkl-files"), "make build")
}

// Registry returns the path of Debian's docker-registry: see testenv/registry.
func Registry(t testing.TB) string {
	t.Helper()
	return built(t, filepath.Join("build", "tools", "registry"), "scripts/setup registry")
}

// sourceTree returns the root directory of the source tree.
func sourceTree() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(filepath.Dir(file))
}

func built(t testing.TB, path, command string) string {
	t.Helper()
	path = filepath.Join(sourceTree(), path)
	if _, err := os.Stat(path); err != nil {
		missing(t, false, fmt.Sprintf("needs %s: run %q first", path, command))
	}
	return path
}

func missing(t testing.TB, device bool, reason string) {
	t.Helper()
	if os.Getenv("LKL_TEST_STRICT") != "" && !device {
		t.Fatal(reason)
	}
	t.Skip(reason)
}

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

// A Requirement is one thing that a test cannot do without.
type Requirement struct {
	name   string
	device bool
	check  func() error
}

var (
	// Root is the superuser, for network namespaces, cgroups and other users.
	Root = Requirement{name: "root", check: func() error {
		if os.Geteuid() != 0 {
			return errors.New("run the tests as root")
		}
		return nil
	}}
	// KVM is a /dev/kvm that can be opened.
	KVM = device("/dev/kvm")
	// Tun is a /dev/net/tun that can be opened, for taps.
	Tun = device("/dev/net/tun")
	// Loop is a /dev/loop-control that can be opened, for block devices of files.
	Loop = device("/dev/loop-control")
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

// Need skips the test unless every requirement is met.
func Need(t testing.TB, needs ...Requirement) {
	t.Helper()
	for _, need := range needs {
		if err := need.check(); err != nil {
			missing(t, need.device, "needs "+need.name+": "+err.Error())
		}
	}
}

// Guest returns the path of a unikernel of guest/ as make builds it: its file
// name, such as "hello.spt".
func Guest(t testing.TB, name string) string {
	t.Helper()
	return built(t, filepath.Join("build", "guest", name), "make guests")
}

// Plugin returns the path of the plugin's binary as make builds it.
func Plugin(t testing.TB) string {
	t.Helper()
	return built(t, filepath.Join("build", "nomad-driver-lkl"), "make build")
}

// Executor returns the path of the executor's binary as make builds it.
func Executor(t testing.TB) string {
	t.Helper()
	return built(t, filepath.Join("build", "lkl-executor"), "make build")
}

// Root directory of the source tree.
func tree() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(filepath.Dir(file))
}

func built(t testing.TB, path, how string) string {
	t.Helper()
	path = filepath.Join(tree(), path)
	if _, err := os.Stat(path); err != nil {
		missing(t, false, fmt.Sprintf("needs %s: run %q first", path, how))
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

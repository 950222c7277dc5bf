// SPDX-License-Identifier: MPL-2.0

// Package executor is the small process that holds one task.
//
// It outlives the plugin: it starts the guest under a tender, copies its
// console to where Nomad reads it, writes its exit status to disk before
// anything else learns of it, and answers on a unix socket meanwhile.
// Package executor/client is the plugin's side.
package executor

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/lkl-nomad/nomad-driver-lkl/executor/cgroup"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
)

// Version is the version of the plan, the protocol and the files in a task's
// state directory. An executor refuses a plan of another version.
const Version = 1

// Names of the files in a task's state directory (Plan.Dir).
const (
	PlanFile     = "plan.json"     // the plan without the guest's command line
	IdentityFile = "executor.json" // who the executor and the guest are: Identity
	SocketFile   = "socket"        // where the executor listens
	ExitFile     = "exit.json"     // how the guest ended: ExitRecord
	DroppedFile  = "dropped"       // State.Dropped, once it is not zero
)

// TenderSPT is the built-in seccomp tender, the value of Plan.Tender.
const TenderSPT = "spt"

// A Plan tells an executor everything about its task. It reaches the executor
// once, over an inherited descriptor, beside the open files that it names by
// their index.
type Plan struct {
	Version int
	Task    string // Nomad's task id, for people and for recognising the task
	Dir     string // the task's state directory, absolute, mode 0700

	Tender      string
	Memory      uint64 // bytes of guest memory
	CommandLine string // may hold secrets: never written to disk or logged
	ExecHeap    bool
	HugePages   bool
	Devices     []Device
	KernelFD    int // index into the passed files

	Stdout, Stderr string // FIFOs of Nomad, or files that exist; "" is nowhere
	// OutputRoot is a directory in which others may write: no symbolic link below
	// it leads to an output. "" is none.
	OutputRoot string

	UIDBase int    // the guest's uid and gid are UIDBase + the executor's pid; 0 keeps the executor's
	Root    string // an empty directory that the guest's process is chrooted to; "" for none

	Cgroup cgroup.Spec
}

// A Device is one device of the guest's manifest and the host's end of it.
type Device struct {
	Name      string
	Type      unikernel.DeviceType
	FD        int // index into the passed files; unused for Control
	MAC       [6]byte
	MTU       uint16
	Capacity  uint64 // bytes; 0: the size of the file, in whole blocks
	BlockSize uint16
	// MaxTransfer and Flush offer a block device's guest more than the Solo5
	// ABI does; see tender.Device.
	MaxTransfer uint32
	Flush       bool
	// Control marks the network device over which the executor sends the
	// guest "signal N" and "stop N". The executor makes the host's end itself.
	Control bool
}

// ErrPlan is what every mistake in a plan is.
var ErrPlan = errors.New("bad plan")

// Check reports every mistake in a plan that is to be carried out with the
// given number of passed files.
func (p *Plan) Check(files int) error {
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("%w: %s", ErrPlan, fmt.Sprintf(format, args...)))
	}
	if p.Version != Version {
		bad("version %d, but this executor is of version %d", p.Version, Version)
	}
	if p.Task == "" {
		bad("no task id")
	}
	if !filepath.IsAbs(p.Dir) {
		bad("state directory %q is not absolute", p.Dir)
	}
	if p.Tender != TenderSPT {
		bad("unknown tender %q (known: %s)", p.Tender, TenderSPT)
	}
	if p.KernelFD < 0 || p.KernelFD >= files {
		bad("kernel is file %d of %d", p.KernelFD, files)
	}
	controls := 0
	for _, d := range p.Devices {
		switch {
		case d.Control && d.Type != unikernel.Net:
			bad("control device %q is not a network device", d.Name)
		case d.Control:
			controls++
		case d.FD < 0 || d.FD >= files:
			bad("device %q is file %d of %d", d.Name, d.FD, files)
		}
	}
	if controls > 1 {
		bad("%d control devices, at most one is possible", controls)
	}
	if p.UIDBase < 0 {
		bad("negative uid base %d", p.UIDBase)
	}
	return errors.Join(errs...)
}

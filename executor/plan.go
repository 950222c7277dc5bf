// SPDX-License-Identifier: MPL-2.0

// Package executor is the small process that supervises one task.
//
// It outlives the plugin. It starts the guest under a tender, copies the guest's
// output to Nomad, writes the exit status to disk before it reports the status to
// any client, and answers requests on a unix socket. Package executor/client is
// the plugin's side.
package executor

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/lkl-nomad/nomad-driver-lkl/executor/cgroup"
	"github.com/lkl-nomad/nomad-driver-lkl/files"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/problems"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
)

// Names of the files in a task's state directory (Plan.Dir). Once the guest runs, the
// executor's user owns the last four, and can neither change nor replace the others.
const (
	PlanFile     = "plan.json"     // the Plan without its command line
	IdentityFile = "executor.json" // the Identity of the executor and its guest
	SocketFile   = "socket"        // the socket on which the executor listens
	ExitFile     = "exit.json"     // the ExitRecord
	DroppedFile  = "dropped"       // State.Dropped in decimal
	FilesFile    = "files"         // State.FilesEnded, if the task has a file server
)

// TenderSPT is the value of Plan.Tender for the built-in seccomp tender.
const TenderSPT = "spt"

// A Plan describes a task to its executor. The executor receives it once, over
// an inherited socket. Open files are inherited too; the plan refers to them by
// their index.
type Plan struct {
	Version int    `json:"Version"`
	Task    string `json:"Task"` // Nomad's task ID
	Dir     string `json:"Dir"`  // state directory of the task: an absolute path, mode 0700

	Tender      string `json:"Tender"`
	Memory      uint64 `json:"Memory"`      // bytes of guest memory
	CommandLine string `json:"CommandLine"` // may contain secrets: never written to disk or logged
	// CommandLineFD is the index of an inherited file that contains the command line
	// instead of CommandLine, or nil.
	CommandLineFD *int     `json:"CommandLineFD,omitempty"`
	ExecHeap      bool     `json:"ExecHeap"`
	HugePages     bool     `json:"HugePages"`
	Devices       []Device `json:"Devices"`
	KernelFD      int      `json:"KernelFD"` // index of an inherited file

	// Stdout and Stderr are FIFOs made by Nomad, or existing files. An empty path
	// discards the output.
	Stdout string `json:"Stdout"`
	Stderr string `json:"Stderr"`
	// SeparateStderr gives the guest a standard error, which is copied to Stderr. Without
	// it the guest has only a console, which is copied to Stdout.
	SeparateStderr bool `json:"SeparateStderr,omitempty"`
	// OutputRoot is a directory in which other tasks may write, or "". The
	// executor follows no symbolic link below it to reach Stdout or Stderr.
	OutputRoot string `json:"OutputRoot"`

	// UIDBase is the first of 3<<22 UIDs and GIDs. Those of the guest are UIDBase + the
	// executor's PID. Those of the executor are 2<<22 higher. With 0, both keep the user of
	// the plugin.
	UIDBase int    `json:"UIDBase"`
	Root    string `json:"Root"` // empty directory for the guest's chroot; "": no chroot

	Cgroup cgroup.Spec `json:"Cgroup"`

	// Files is nil for a task without live directories. Otherwise one of the devices has
	// Files set.
	Files *FilesPlan `json:"Files,omitempty"`
}

// A Device is one device of the guest's manifest with its backing on the host.
type Device struct {
	Name      string               `json:"Name"`
	Type      unikernel.DeviceType `json:"Type"`
	FD        int                  `json:"FD"` // index of an inherited file; unused for a control device
	MAC       [6]byte              `json:"MAC"`
	MTU       uint16               `json:"MTU"`
	Capacity  uint64               `json:"Capacity"` // bytes; 0: size of the file, rounded down to whole blocks
	BlockSize uint16               `json:"BlockSize"`
	// MaxTransfer and Flush extend the Solo5 ABI of block devices; see
	// tender.Device.
	MaxTransfer uint32 `json:"MaxTransfer"`
	Flush       bool   `json:"Flush"`
	// Control marks the network device over which the executor sends "signal N"
	// and "stop N" to the guest. The executor creates its backing.
	Control bool `json:"Control"`
	// Files marks the network device over which the guest reaches its file server. The
	// executor creates its backing. It belongs to Plan.Files.
	Files bool `json:"Files,omitempty"`
}

// A FilesPlan describes the file server of a task, which serves the task's live
// directories.
type FilesPlan struct {
	ProgramFD int        `json:"ProgramFD"` // index of an inherited file: the program lkl-files
	Server    files.Plan `json:"Server"`    // Share.FD is an index of an inherited file, open with O_PATH
}

// ErrPlan is wrapped by every error of Plan.Check.
var ErrPlan = errors.New("invalid plan")

// Check returns all mistakes in a plan that comes with the given number of
// inherited files.
func (p *Plan) Check(files int) error {
	var mistakes problems.List
	if !knows(p.Version) {
		mistakes.Addf("", "version %d: this executor supports versions %d to %d", p.Version, MinVersion, Version)
	}
	if p.Task == "" {
		mistakes.Addf("", "no task ID")
	}
	if !filepath.IsAbs(p.Dir) {
		mistakes.Addf("", "state directory %q is not absolute", p.Dir)
	}
	if p.Tender != TenderSPT {
		mistakes.Addf("", "unknown tender %q: only %s is supported", p.Tender, TenderSPT)
	}
	if p.KernelFD < 0 || p.KernelFD >= files {
		mistakes.Addf("", "the kernel is the inherited file with index %d, but there are %d inherited files", p.KernelFD, files)
	}
	if fd := p.CommandLineFD; fd != nil && (*fd < 0 || *fd >= files) {
		mistakes.Addf("", "the command line is the inherited file with index %d, but there are %d inherited files", *fd, files)
	}
	p.checkDevices(&mistakes, files)
	p.checkFiles(&mistakes, files)
	if p.UIDBase < 0 {
		mistakes.Addf("", "negative UID base %d", p.UIDBase)
	}
	if err := mistakes.Err(); err != nil {
		return fmt.Errorf("%w: %w", ErrPlan, err)
	}
	return nil
}

func (p *Plan) checkDevices(mistakes *problems.List, files int) {
	controls := 0
	for _, d := range p.Devices {
		switch {
		case (d.Control || d.Files) && d.Type != unikernel.Net:
			mistakes.Addf("", "%s device %q is not a network device", d.role(), d.Name)
		case d.Control && d.Files:
			mistakes.Addf("", "device %q is both a control device and a files device", d.Name)
		case d.Control:
			controls++
		case d.Files:
		case d.FD < 0 || d.FD >= files:
			mistakes.Addf("", "device %q is the inherited file with index %d, but there are %d inherited files", d.Name, d.FD, files)
		}
	}
	if controls > 1 {
		mistakes.Addf("", "%d control devices: at most one is possible", controls)
	}
}

// role names a device whose backing the executor creates.
func (d *Device) role() string {
	if d.Control {
		return "control"
	}
	return "files"
}

// checkFiles checks the plan of the file server and its device.
func (p *Plan) checkFiles(mistakes *problems.List, inherited int) {
	devices := 0
	for _, d := range p.Devices {
		if d.Files {
			devices++
		}
	}
	if p.Files == nil {
		if devices > 0 {
			mistakes.Addf("", "a files device, but no plan of a file server")
		}
		return
	}
	if devices != 1 {
		mistakes.Addf("", "%d files devices: a file server serves one", devices)
	}
	if fd := p.Files.ProgramFD; fd < 0 || fd >= inherited {
		mistakes.Addf("", "the file server is the inherited file with index %d, but there are %d inherited files", fd, inherited)
	}
	if err := p.Files.Server.Check(inherited); err != nil {
		mistakes.Addf("", "%w", err)
	}
}

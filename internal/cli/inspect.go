// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/lkl-nomad/nomad-driver-lkl/hostcheck"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/safeopen"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/taskmemory"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
)

const inspectUsage = `usage: PROGRAM inspect [--json] KERNEL

Prints the properties of a unikernel, and its requirements on this machine.

Exit status:
  0  KERNEL is a Solo5 unikernel
  1  KERNEL cannot be opened or read
  2  the command line is not valid
  3  KERNEL is not a Solo5 unikernel, or not a valid one
  4  the output cannot be written
`

// An inspection is the output of inspect, and with --json its JSON object.
// Addresses and sizes are in bytes.
type inspection struct {
	File   string           `json:"file"`
	Target string           `json:"target"` // "spt", "hvt", "virtio", "muen", "genode" or "xen"
	ABI    uint32           `json:"abi"`    // 1 or 2
	Flavor unikernel.Flavor `json:"flavor"` // "lkl" or "solo5"
	// Features are those that the guest lists in its note, such as "offload".
	Features []string `json:"features"`
	Entry    uint64   `json:"entry"`
	// End is the address of the image's end in the guest's memory.
	End uint64 `json:"end"`
	// MinMemory is the least memory that the guest starts with. Its program may
	// need more.
	MinMemory uint64 `json:"min_memory"`
	// MinTaskMemory is the least memory of a Nomad task that the driver accepts for the
	// kernel, in bytes. It is 0 if the driver cannot run the kernel's target.
	MinTaskMemory uint64             `json:"min_task_memory,omitempty"`
	Devices       []inspectedDevice  `json:"devices"`
	Segments      []inspectedSegment `json:"segments"`
	Needs         []requirement      `json:"needs"`
}

// An inspectedDevice is one device of the manifest.
type inspectedDevice struct {
	Handle int    `json:"handle"`
	Name   string `json:"name"`
	Type   string `json:"type"` // "block" or "net"
}

// An inspectedSegment is a loaded segment of the file.
type inspectedSegment struct {
	Address    uint64 `json:"address"`
	MemorySize uint64 `json:"memory_size"`
	End        uint64 `json:"end"` // rounded up to the page
	FileOffset uint64 `json:"file_offset"`
	FileSize   uint64 `json:"file_size"`
	Access     string `json:"access"` // such as "r-x"
}

// A requirement is a condition for running the unikernel.
type requirement struct {
	What string `json:"what"`
	Met  *bool  `json:"met"` // null: unknown
	Hint string `json:"hint,omitempty"`
}

// state returns Met as "yes", "no" or "-".
func (r requirement) state() string {
	switch {
	case r.Met == nil:
		return "-"
	case *r.Met:
		return "yes"
	default:
		return "no"
	}
}

// requirements returns the requirements of the unikernel, and whether this host
// meets them.
func requirements(ctx context.Context, info *unikernel.Info, host hostcheck.Host) []requirement {
	var list []requirement
	addProbed := func(what string, err error, hint string) {
		ok := err == nil
		if !ok {
			hint = err.Error()
		}
		list = append(list, requirement{What: what, Met: &ok, Hint: hint})
	}
	addUnknown := func(what, hint string) { list = append(list, requirement{What: what, Hint: hint}) }

	switch info.Target {
	case unikernel.TargetSPT:
		addProbed("spt tender", host.SPT(ctx), "built in")
	case unikernel.TargetHVT:
		addProbed("hvt tender", errors.New("not part of this driver; use solo5-hvt, without Nomad"), "")
		addProbed("KVM", host.KVM(), "creates virtual machines")
	default:
		addProbed(info.Target.String()+" tender", errors.New("only spt unikernels run as Nomad tasks: link the unikernel for spt"), "")
	}
	for _, d := range info.Manifest {
		what := d.Type.String() + " device " + d.Name
		switch {
		case d.Type == unikernel.Block:
			addUnknown(what, "run: --block:"+d.Name+"=FILE")
		case d.Name == unikernel.DeviceControl && info.HasControl():
			addUnknown(what, "passes signals to the guest; the driver attaches it. run: --net:"+d.Name+"=TAP")
		default:
			addProbed(what, host.Tap(), "run: --net:"+d.Name+"=TAP")
		}
	}
	addUnknown("executable heap", "not recorded in the file; required by programs that generate machine code at run time")
	return list
}

// inspectCommand implements "inspect". It returns one of the exit statuses in
// inspectUsage.
func inspectCommand(e *Env, args []string) int {
	flags := newFlags()
	asJSON := flags.Bool("json", false, "")
	operands, status, done := e.parse(flags, args)
	if done {
		return status
	}
	if len(operands) != 1 {
		return e.usageError(fmt.Errorf("exactly one KERNEL is required, %d are given", len(operands)))
	}
	report, err := inspect(context.Background(), operands[0], hostcheck.LocalHost(hostcheck.DriverProbes{}))
	if pathError := (*fs.PathError)(nil); errors.As(err, &pathError) {
		return e.fail(exitFailed, err)
	}
	if err != nil {
		return e.fail(exitRefused, err)
	}
	write := report.writeText
	if *asJSON {
		write = report.writeJSON
	}
	if err := write(e.Stdout); err != nil {
		return e.fail(exitUnwritten, err)
	}
	return exitOK
}

// inspect reads a kernel file and probes the host. An error of the file system is
// an fs.PathError. Other errors mean that the file is not a valid unikernel.
func inspect(ctx context.Context, path string, host hostcheck.Host) (*inspection, error) {
	f, err := safeopen.Open(path, os.O_RDONLY, safeopen.Regular)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	stat, err := f.Stat()
	if err != nil {
		return nil, err
	}
	info, err := unikernel.Read(f, stat.Size())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	report := &inspection{
		File: path, Target: info.Target.String(), ABI: info.ABI, Flavor: info.Flavor(), Features: info.Features.Names(),
		Entry: info.Entry, End: info.End, MinMemory: info.MinMemory(),
		Devices: []inspectedDevice{}, Needs: requirements(ctx, info, host),
	}
	if info.Target == unikernel.TargetSPT {
		report.MinTaskMemory = taskmemory.Divide(info, info.Flavor()).MinLimit()
	}
	for i, d := range info.Manifest {
		report.Devices = append(report.Devices, inspectedDevice{Handle: i + 1, Name: d.Name, Type: d.Type.String()})
	}
	for _, s := range info.Segments {
		report.Segments = append(report.Segments, inspectedSegment{
			Address: s.Addr, MemorySize: s.MemSize, End: s.End,
			FileOffset: s.Offset, FileSize: s.FileSize, Access: access(s),
		})
	}
	return report, nil
}

// access formats a segment's permissions as in /proc/PID/maps.
func access(s unikernel.Segment) string {
	letters := []byte("---")
	for i, on := range []bool{s.Read, s.Write, s.Exec} {
		if on {
			letters[i] = "rwx"[i]
		}
	}
	return string(letters)
}

func (r *inspection) writeJSON(w io.Writer) error { return writeJSON(w, r) }

func (r *inspection) writeText(w io.Writer) error {
	return writeTable(w, func(line func(string, ...any)) {
		line("%s", printable(r.File))
		line("Target\t%s, ABI version %d", r.Target, r.ABI)
		line("Flavor\t%s", r.Flavor)
		if len(r.Features) > 0 {
			line("Features\t%s", strings.Join(r.Features, ", "))
		}
		line("Entry\t%#x", r.Entry)
		line("Memory\tat least %d MiB; the image ends at %#x", r.MinMemory>>20, r.End)
		if r.MinTaskMemory > 0 {
			line("Task\tneeds %d MiB, and more for the program's own data", r.MinTaskMemory>>20)
		}

		line("\nSegments\nAddress\tEnd\tBytes\tIn file\tAt\tAccess")
		for _, s := range r.Segments {
			line("%#x\t%#x\t%d\t%d\t%d\t%s", s.Address, s.End, s.MemorySize, s.FileSize, s.FileOffset, s.Access)
		}
		if len(r.Devices) == 0 {
			line("\nNo devices")
		} else {
			line("\nDevices\nHandle\tName\tType")
		}
		for _, d := range r.Devices {
			line("%d\t%s\t%s", d.Handle, d.Name, d.Type)
		}
		line("\nRequirement\tMet")
		for _, n := range r.Needs {
			line("%s\t%s\t%s", n.What, n.state(), n.Hint)
		}
	})
}

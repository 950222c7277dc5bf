// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/lkl-nomad/nomad-driver-lkl/fingerprint"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
)

const inspectUsage = `usage: nomad-driver-lkl inspect [--json] KERNEL

Tells what a unikernel is and what it needs to run on this machine.

Exit status: 0 KERNEL is a Solo5 unikernel, 1 it cannot be opened or read,
2 the command was wrong, 3 it is not a unikernel, or breaks Solo5's rules,
4 the answer could not be written.
`

// The exit statuses of inspect.
const (
	inspectOK         = 0
	inspectUnreadable = 1
	inspectUsageError = 2
	inspectRefused    = 3
	inspectUnwritten  = 4
)

// An inspection is what inspect tells, and with --json writes as one object.
// Addresses and sizes are in bytes.
type inspection struct {
	File   string           `json:"file"`
	Target string           `json:"target"` // "spt", "hvt", "virtio", "muen", "genode" or "xen"
	ABI    uint32           `json:"abi"`    // 1 or 2
	Flavor unikernel.Flavor `json:"flavor"` // "lkl" or "solo5"
	// Features are what the guest says that it understands, such as "offload".
	Features []string `json:"features"`
	Entry    uint64   `json:"entry"`
	// End is where the image ends in the guest's memory.
	End uint64 `json:"end"`
	// MinMemory is what the guest needs at least, its program's needs aside.
	MinMemory uint64             `json:"min_memory"`
	Devices   []inspectedDevice  `json:"devices"`
	Segments  []inspectedSegment `json:"segments"`
	Needs     []need             `json:"needs"`
}

// An inspectedDevice is one device of the manifest.
type inspectedDevice struct {
	Handle int    `json:"handle"`
	Name   string `json:"name"`
	Type   string `json:"type"` // "block" or "net"
}

// An inspectedSegment is one part of the file that is loaded.
type inspectedSegment struct {
	Address    uint64 `json:"address"`
	MemorySize uint64 `json:"memory_size"`
	End        uint64 `json:"end"` // rounded up to the page
	FileOffset uint64 `json:"file_offset"`
	FileSize   uint64 `json:"file_size"`
	Access     string `json:"access"` // such as "r-x"
}

// A need is one thing that a unikernel cannot run without.
type need struct {
	What string `json:"what"`
	Met  *bool  `json:"met"` // null: this cannot be told from here
	Hint string `json:"hint,omitempty"`
}

// answer is Met in words.
func (n need) answer() string {
	switch {
	case n.Met == nil:
		return "-"
	case *n.Met:
		return "yes"
	default:
		return "no"
	}
}

// needs tells what it takes to run the unikernel, and whether it is here.
func needs(ctx context.Context, m *unikernel.Info, host fingerprint.Host) []need {
	var list []need
	probed := func(what string, err error, hint string) {
		ok := err == nil
		if !ok {
			hint = err.Error()
		}
		list = append(list, need{What: what, Met: &ok, Hint: hint})
	}
	open := func(what, hint string) { list = append(list, need{What: what, Hint: hint}) }

	switch m.Target {
	case unikernel.TargetSPT:
		probed("spt tender", host.SPT(ctx), "built in")
	case unikernel.TargetHVT:
		probed("hvt tender", errors.New("this version has none; solo5-hvt runs it without Nomad"), "")
		probed("KVM", host.KVM(), "makes virtual machines")
	default:
		probed(m.Target.String()+" tender", errors.New("only spt unikernels run as Nomad tasks: link it for spt"), "")
	}
	for _, d := range m.Manifest {
		what := d.Type.String() + " device " + d.Name
		switch {
		case d.Type == unikernel.Block:
			open(what, "run: --block:"+d.Name+"=FILE")
		case d.Name == unikernel.DeviceControl && m.HasControl():
			open(what, "carries signals; the driver attaches it. run: --net:"+d.Name+"=TAP")
		default:
			probed(what, host.Tap(), "run: --net:"+d.Name+"=TAP")
		}
	}
	open("executable heap", "the file does not tell; programs that make machine code at run time need it")
	return list
}

// inspectCommand is `nomad-driver-lkl inspect`. Its result is the exit status,
// as inspectUsage tells.
func inspectCommand(args []string, stdout, stderr io.Writer) int {
	complain := func(status int, err error, usage string) int {
		// There is nowhere else to tell it.
		_, _ = fmt.Fprintf(stderr, "nomad-driver-lkl inspect: %v\n%s", err, usage)
		return status
	}
	flags := flag.NewFlagSet("inspect", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	asJSON := flags.Bool("json", false, "")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		_, _ = io.WriteString(stdout, inspectUsage)
		return inspectOK
	case err != nil:
		return complain(inspectUsageError, err, inspectUsage)
	case flags.NArg() != 1:
		return complain(inspectUsageError, fmt.Errorf("one KERNEL is wanted, %d are given", flags.NArg()), inspectUsage)
	}
	report, err := inspect(context.Background(), flags.Arg(0), fingerprint.LocalHost(nil, nil))
	if pathError := (*fs.PathError)(nil); errors.As(err, &pathError) {
		return complain(inspectUnreadable, err, "")
	}
	if err != nil {
		return complain(inspectRefused, err, "")
	}
	write := report.writeText
	if *asJSON {
		write = report.writeJSON
	}
	if err := write(stdout); err != nil {
		return complain(inspectUnwritten, err, "")
	}
	return inspectOK
}

// inspect reads a kernel file and probes the host. An error of the file system is an fs.PathError,
// any other is what unikernel.Read found wrong.
func inspect(ctx context.Context, path string, host fingerprint.Host) (*inspection, error) {
	// Before it is opened, since opening a FIFO would wait.
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "read", Path: path, Err: errors.New("not a regular file")}
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	m, err := unikernel.Read(f, info.Size())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	report := &inspection{
		File: path, Target: m.Target.String(), ABI: m.ABI, Flavor: m.Flavor(), Features: m.Features.Names(),
		Entry: m.Entry, End: m.End, MinMemory: m.MinMemory(),
		Devices: []inspectedDevice{}, Needs: needs(ctx, m, host),
	}
	for i, d := range m.Manifest {
		report.Devices = append(report.Devices, inspectedDevice{Handle: i + 1, Name: d.Name, Type: d.Type.String()})
	}
	for _, s := range m.Segments {
		report.Segments = append(report.Segments, inspectedSegment{
			Address: s.Addr, MemorySize: s.MemSize, End: s.End,
			FileOffset: s.Offset, FileSize: s.FileSize, Access: access(s),
		})
	}
	return report, nil
}

// access writes a segment's permissions as ls and /proc/PID/maps do.
func access(s unikernel.Segment) string {
	letters := []byte("---")
	for i, on := range []bool{s.Read, s.Write, s.Exec} {
		if on {
			letters[i] = "rwx"[i]
		}
	}
	return string(letters)
}

func (r *inspection) writeJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(r)
}

func (r *inspection) writeText(w io.Writer) error {
	var text bytes.Buffer // takes every write
	t := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	line := func(format string, args ...any) { _, _ = fmt.Fprintf(t, format+"\n", args...) }
	line("%s", r.File)
	line("Target\t%s, ABI version %d", r.Target, r.ABI)
	line("Flavour\t%s", r.Flavor)
	if len(r.Features) > 0 {
		line("Understands\t%s", strings.Join(r.Features, ", "))
	}
	line("Entry\t%#x", r.Entry)
	line("Memory\tat least %d MiB; the image ends at %#x", r.MinMemory>>20, r.End)

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
	line("\nNeeds\tHere")
	for _, n := range r.Needs {
		line("%s\t%s\t%s", n.What, n.answer(), n.Hint)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := w.Write(text.Bytes())
	return err
}

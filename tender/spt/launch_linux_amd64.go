// SPDX-License-Identifier: MPL-2.0

package spt

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/tender"
)

// firstSteps is the number of steps in the launcher's page. They map the guest's
// memory and read the other steps into it.
const firstSteps = 2

// A launch is a prepared start of a guest. It holds no resources.
type launch struct {
	launcher []byte // an ELF file
	data     []byte // content of the memory from bootBase
	steps    []step
}

func newLaunch(g *tender.Guest, j tender.Jail, devices []tender.Device, canMapCode bool) (*launch, error) {
	t, err := newTable(g, j, devices, canMapCode)
	if err != nil {
		return nil, err
	}
	return t.encodeLaunch(g, devices)
}

// newTable returns all steps of the launcher. encodeLaunch then sets the length of the
// read in the second step. docs/tender.md explains the order of the steps.
func newTable(g *tender.Guest, j tender.Jail, devices []tender.Device, canMapCode bool) (*table, error) {
	filter, err := filter(devices, outputs(g))
	if err != nil {
		return nil, err
	}
	// The launcher's own descriptors follow those of the devices.
	launcherFDs := uint64(fdDevice + len(devices))
	t := new(table)
	t.mapMemory(g.Memory, g.ExecHeap)
	t.call("read the boot information", unix.SYS_PREAD64, launcherFDs+fdData, bootBase)
	t.setHugePages(g.Memory, g.HugePages)
	t.resetSignals()
	t.dropPrivileges(j)
	t.loadSegments(g.Info.Segments, launcherFDs+fdKernel, canMapCode)
	if g.CommandLineFile != nil {
		t.readCommandLine(g, launcherFDs+fdCommandLine)
	}
	t.closeAndUnmap(g.Memory, launcherFDs+fdStatus)
	if g.Info.Preempt != nil {
		t.interruptByTimer(g.Info.Preempt)
	}
	t.installFilter(filter, launcherFDs+fdStatus)
	return t, nil
}

// outputs returns the descriptors that the guest may only write to.
func outputs(g *tender.Guest) []uint32 {
	if g.Stderr == nil {
		return []uint32{fdConsole}
	}
	return []uint32{fdConsole, fdStderr}
}

func (t *table) encodeLaunch(g *tender.Guest, devices []tender.Device) (*launch, error) {
	boot, err := bootInfo(g, devices)
	if err != nil {
		return nil, fmt.Errorf("encode the boot information: %w", err)
	}
	data, tableAddress, err := t.layOut(boot)
	if err != nil {
		return nil, err
	}
	var first []byte
	for i := range t.steps[:firstSteps] {
		first = t.steps[i].encode(first)
	}
	first = jump(tableAddress, scratchBase).encode(first)
	var handler uint64
	if g.Info.Preempt != nil {
		handler = g.Info.Preempt.Handler
	}
	launcher, err := launcherELF(parameters{
		StatusFD:     uint64(fdDevice + len(devices) + fdStatus),
		ClearAddress: scratchBase,
		ClearWords:   (bootBase + uint64(len(data)) - scratchBase) / 8,
		Stack:        g.HeapEnd() - 8,
		BootInfo:     bootBase,
		EntryPoint:   g.Info.Entry,
		Handler:      handler,
	}, first)
	if err != nil {
		return nil, fmt.Errorf("encode the launcher: %w", err)
	}
	if len(launcher) > pageSize {
		return nil, fmt.Errorf("launcher of %d bytes does not fit into a page", len(launcher))
	}
	return &launch{launcher: launcher, data: data, steps: t.steps}, nil
}

// layOut returns the bytes of the memory from bootBase (the boot information, the
// table's data and the table) and the address of the table.
func (t *table) layOut(boot []byte) (data []byte, tableAddress uint64, err error) {
	const bootRoom = scratchBase - bootBase
	const launcherStack = 2 * 8
	if len(boot) > bootRoom-launcherStack {
		return nil, 0, fmt.Errorf("boot information of %d bytes is too long", len(boot))
	}
	data = append(data, boot...)
	data = append(data, make([]byte, bootRoom-len(boot))...)
	data = append(data, t.data...)
	tableAddress = bootBase + uint64(len(data))
	for i := firstSteps; i < len(t.steps); i++ {
		data = t.steps[i].encode(data)
	}
	data = jump(0, 0).encode(data)
	if bootBase+len(data) > scratchEnd {
		return nil, 0, errors.New("the unikernel has too many segments: link it with fewer")
	}
	read := &t.steps[firstSteps-1]
	read.args[2], read.want = uint64(len(data)), uint64(len(data))
	return data, tableAddress, nil
}

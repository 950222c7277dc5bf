// SPDX-License-Identifier: MPL-2.0

package spt

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/tender"
)

// firstSteps are the steps of the table in the launcher's page: they map the
// guest's memory and read into it all that follows.
const firstSteps = 2

// A plan is a launch made ready: plain bytes, no resources.
type plan struct {
	launcher []byte // an ELF
	data     []byte // what lies at bootBase and, from scratchBase, is wiped
	steps    []step
}

func newPlan(g *tender.Guest, j tender.Jail, devices []tender.Device, mayMapCode bool) (*plan, error) {
	t, err := newTable(g, j, devices, mayMapCode)
	if err != nil {
		return nil, err
	}
	return t.plan(g, devices)
}

// newTable is all that the launcher does. The read of its own data is completed
// when that is laid out.
func newTable(g *tender.Guest, j tender.Jail, devices []tender.Device, mayMapCode bool) (*table, error) {
	filter, err := filter(devices)
	if err != nil {
		return nil, err
	}
	temporary := uint64(fdDevice + len(devices))
	t := new(table)
	t.mapMemory(g.Memory, g.ExecHeap)
	t.call("reading the boot information", unix.SYS_PREAD64, temporary+fdData, bootBase)
	t.chooseHugePages(g.Memory, g.HugePages)
	t.resetSignals()
	t.dropPrivileges(j)
	t.load(g.Image.Segments, temporary+fdKernel, mayMapCode)
	t.leave(g.Memory, temporary+fdStatus)
	t.confine(filter, temporary+fdStatus)
	return t, nil
}

func (t *table) plan(g *tender.Guest, devices []tender.Device) (*plan, error) {
	data, tableAddress, err := t.layOut(bootInfo(g, devices))
	if err != nil {
		return nil, err
	}
	var first []byte
	for i := range t.steps[:firstSteps] {
		first = t.steps[i].encode(first)
	}
	first = link(tableAddress, scratchBase).encode(first)
	launcher, err := launcherELF(parameters{
		Status:     uint64(fdDevice + len(devices) + fdStatus),
		Wipe:       scratchBase,
		Words:      (bootBase + uint64(len(data)) - scratchBase) / 8,
		Stack:      g.Memory - 8,
		BootInfo:   bootBase,
		EntryPoint: g.Image.Entry,
	}, first)
	if err != nil {
		return nil, fmt.Errorf("making the launcher: %w", err)
	}
	if len(launcher) > pageSize {
		return nil, fmt.Errorf("launcher of %d bytes does not fit into a page", len(launcher))
	}
	return &plan{launcher: launcher, data: data, steps: t.steps}, nil
}

// layOut puts boot information, data and table together as they will lie from
// bootBase on, and tells where the table begins.
func (t *table) layOut(boot []byte) (all []byte, tableAddress uint64, err error) {
	const bootRoom = scratchBase - bootBase
	if len(boot) > bootRoom-2*8 { // the launcher's stack has two words
		return nil, 0, fmt.Errorf("boot information of %d bytes is too long", len(boot))
	}
	all = append(all, boot...)
	all = append(all, make([]byte, bootRoom-len(boot))...)
	all = append(all, t.data...)
	tableAddress = bootBase + uint64(len(all))
	for i := firstSteps; i < len(t.steps); i++ {
		all = t.steps[i].encode(all)
	}
	all = link(0, 0).encode(all)
	if bootBase+len(all) > scratchEnd {
		return nil, 0, errors.New("the unikernel has too many segments: link it with fewer")
	}
	read := &t.steps[firstSteps-1]
	read.args[2], read.want = uint64(len(all)), uint64(len(all))
	return all, tableAddress, nil
}

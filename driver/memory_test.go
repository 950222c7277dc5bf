// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/hashicorp/nomad/nomad/structs"
	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
)

func TestMemory_MemoryMaxIsTheLimit(t *testing.T) {
	task := func(memory, most int64) *drivers.TaskConfig {
		return &drivers.TaskConfig{Resources: &drivers.Resources{
			// Nomad's client computes it like this (taskrunner: buildTaskConfig).
			LinuxResources: &drivers.LinuxResources{MemoryLimitBytes: max(memory, most) << 20},
			NomadResources: &structs.AllocatedTaskResources{
				Memory: structs.AllocatedMemoryResources{MemoryMB: memory, MemoryMaxMB: most},
			},
		}}
	}
	for _, c := range []struct {
		name            string
		task            *drivers.TaskConfig
		limit, reserved uint64 // MiB
	}{
		{"memory alone", task(64, 0), 64, 0},
		{"memory_max", task(64, 256), 256, 64},
		{"no limit", task(64, -1), 64, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			must.Eq(t, c.limit<<20, memoryLimit(c.task))
			must.Eq(t, c.reserved<<20, memoryReserved(c.task))
		})
	}
}

func TestCheckMemory_NamesTheSmallestLimit(t *testing.T) {
	elf := &unikernel.Info{
		Entry: 0x100000, End: 20 << 20,
		Segments: []unikernel.Segment{{Addr: 0x100000, Start: 0x100000, MemSize: 19 << 20, End: 20 << 20}},
	}
	k := kernelInfo{elf: elf, flavor: unikernel.FlavorSolo5}
	must.NoError(t, k.checkMemory(25<<20))
	must.ErrorContains(t, k.checkMemory(24<<20), "set memory to at least 25")
}

// The error names a limit with which the guest runs.
func TestLinux_IsRefusedWithTooLittleMemory(t *testing.T) {
	p := newTestPlugin(t)
	task := p.linux(t, "streams.c", TaskConfig{})
	task.Resources.LinuxResources.MemoryLimitBytes = 15 << 20
	_, _, err := p.StartTask(task)
	must.ErrorContains(t, err, "the limit of 15 MiB leaves")
	_, text, _ := strings.Cut(err.Error(), "set memory to at least ")
	text, _, found := strings.Cut(text, ", and more for the program")
	must.True(t, found)
	limit, err := strconv.ParseInt(text, 10, 64)
	must.NoError(t, err)
	must.Between(t, 16, limit, 24)
	for mib, starts := range map[int64]bool{limit - 1: false, limit: true} {
		task := p.linux(t, "streams.c", TaskConfig{})
		task.Resources.LinuxResources.MemoryLimitBytes = mib << 20
		_, _, err := p.StartTask(task)
		must.Eq(t, starts, err == nil, must.Sprint(mib, err))
		if starts {
			result := p.wait(t, task)
			must.True(t, result.Successful(), must.Sprint(result, console(task), errorsOf(task)))
		}
	}
}

// Legacy LKL guests overwrite their stack unless their memory is aligned.
func TestGuestMemory_IsAlignedForLegacyGuests(t *testing.T) {
	elf := &unikernel.Info{
		Entry: 0x100000, End: 8 << 20,
		Segments: []unikernel.Segment{{Addr: 0x100000, Start: 0x100000, MemSize: 7 << 20, End: 8 << 20}},
		Manifest: []unikernel.Device{{Name: "rootfs", Type: unikernel.Block}, {Name: "tap", Type: unikernel.Net}},
	}
	k := kernelInfo{elf: elf, flavor: unikernel.FlavorLKL}
	for limit, want := range map[uint64]uint64{37: 32, 64: 48, 264: 256, 512: 496, 1024: 1008} { // MiB
		must.NoError(t, k.checkMemory(limit<<20))
		must.Eq(t, want<<20, k.memory().Guest(limit<<20))
	}
	err := k.checkMemory(36 << 20)
	must.ErrorContains(t, err, "leaves 16384 KiB for the guest (4168 KiB are reserved for executor and page tables, rounded down")
	must.ErrorContains(t, err, "set memory to at least 37")
	elf.Manifest = append(elf.Manifest, unikernel.Device{Name: "control", Type: unikernel.Net})
	must.Eq(t, 496<<20, k.memory().Guest(512<<20), must.Sprint("a control device changes nothing"))
	elf.Features = unikernel.FeatureMemory
	must.Eq(t, 507<<20, k.memory().Guest(512<<20))
	elf.Features |= unikernel.LiveFeatures
	must.Eq(t, 501<<20, k.memory().Guest(512<<20))
	must.ErrorContains(t, k.checkMemory(10<<20), "reserved for executor, file server and page tables)")
}

// The reserved overhead suffices: a guest that uses all of its memory ends by
// its own fault, not by the limit.
func TestMemory_GuestCanUseAllOfItsMemory(t *testing.T) {
	for _, mib := range []int64{8, 64, 512} {
		p := newTestPlugin(t)
		task := p.task(t, TaskConfig{Kernel: "crash.spt", Args: []string{"stack"}}, false)
		task.Resources.LinuxResources.MemoryLimitBytes = mib << 20
		_, _, err := p.StartTask(task)
		must.NoError(t, err)
		result := p.wait(t, task)
		must.False(t, result.OOMKilled, must.Sprintf("%d MiB", mib))
		must.Eq(t, int(syscall.SIGSEGV), result.Signal)
	}
}

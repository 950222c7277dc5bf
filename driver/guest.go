// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"cmp"
	"os"

	"github.com/lkl-nomad/nomad-driver-lkl/executor"
	"github.com/lkl-nomad/nomad-driver-lkl/tender"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
)

// A guest is everything that a task's unikernel runs with.
type guest struct {
	job     job
	kernel  *kernel
	network netDevices
	disk    *rootDisk // nil without a block device
	disks   dataDisks
	// extra are devices that the kernel's manifest lacks, for guests with
	// unikernel.FeatureDevices.
	extra []hostDevice
	live  *liveFiles // nil for a guest without live directories
}

// A hostDevice is a device with the file behind it, if any.
type hostDevice struct {
	executor.Device
	file *os.File
}

// memory returns the size of the guest's memory in bytes.
func (g guest) memory() uint64 {
	return g.kernel.memory().Guest(memoryLimit(g.job.task))
}

// uidBase is the first of the UIDs of guests and executors, two for each task (see
// executor.Plan). The range lies above the UIDs that systemd and distributions assign
// (systemd: UIDS-GIDS.md).
const uidBase = 0x70000000

// plan returns the executor's instructions and the files that they refer to by
// index.
func (g guest) plan(commandLine string, dir taskDir, root string) (executor.Plan, []*os.File) {
	task, config := g.job.task, g.job.config
	plan := executor.Plan{
		Task: task.ID, Dir: dir.path,
		Tender: g.kernel.tender, Memory: g.memory(), CommandLine: commandLine,
		ExecHeap: config.ExecHeap, HugePages: config.HugePages,
		Stdout: task.StdoutPath, Stderr: task.StderrPath, SeparateStderr: g.separateStderr(), OutputRoot: task.AllocDir,
		UIDBase: uidBase, Root: root, Cgroup: dir.record.Cgroup,
	}
	files := []*os.File{g.kernel.private} // Plan.KernelFD is 0
	for _, d := range g.devices() {
		if d.file != nil {
			d.FD = len(files)
			files = append(files, d.file)
		}
		plan.Devices = append(plan.Devices, d.Device)
	}
	plan.Files, files = g.live.plan(g.job.program.user, files)
	if plan.Files != nil {
		plan.Devices = append(plan.Devices, executor.Device{Name: unikernel.DeviceFiles, Type: unikernel.Net, Files: true})
	}
	return plan, files
}

// devices returns the devices of the manifest, and then the others.
func (g guest) devices() []hostDevice {
	var devices []hostDevice
	for _, declared := range g.kernel.elf.Manifest {
		devices = append(devices, g.declaredDevice(declared))
	}
	for _, disk := range g.disks {
		if _, declared := g.kernel.elf.Device(disk.name); !declared {
			devices = append(devices, disk.device())
		}
	}
	return append(devices, g.extra...)
}

// declaredDevice returns the host's side of a device in the manifest.
func (g guest) declaredDevice(declared unikernel.Device) hostDevice {
	device := executor.Device{Name: declared.Name, Type: declared.Type}
	if disk, ok := g.disks.device(declared.Name); ok {
		return disk
	}
	switch {
	case isControl(declared):
		device.Control = true
		return hostDevice{device, nil}
	case declared.Type == unikernel.Block:
		device.Capacity, device.BlockSize = g.disk.size, tender.MinBlockSize
		offer := g.diskOffer()
		device.MaxTransfer, device.Flush = offer.Transfer, offer.Flush
		return hostDevice{device, g.disk.file}
	default:
		tap := g.network.device(declared.Name).tap
		device.MTU = uint16(tap.MTU)
		copy(device.MAC[:], tap.MAC)
		return hostDevice{device, tap.File}
	}
}

// state returns the part of the task's handle that describes the running guest.
func (g guest) state(dir taskDir, running executor.State) taskState {
	var first link
	if connected := g.network.connected(); len(connected) > 0 {
		first = connected[0].link
	}
	s := taskState{
		Dir: dir.path, Tender: g.kernel.tender,
		Executor: running.Executor, Guest: running.Guest, UID: running.UID, Control: running.Control,
		Kernel: g.job.kernelName(), KernelDigest: g.kernel.digest, Flavor: string(g.kernel.flavor),
		GuestMemory: g.memory(),
		IP:          cmp.Or(first.IP, first.IPv6), MAC: first.MAC, Netns: dir.record.Netns, Tap: first.Tap,
		Cgroup:    dir.record.Cgroup,
		StartedAt: running.Started.UnixNano(),
		Links:     g.network.links(),
	}
	if g.job.image != nil {
		s.Image, s.ImageDigest = g.job.config.Image, g.job.image.entry.Digest
		s.StopSignal = g.job.program.stopSignal
	}
	return s
}

// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashicorp/nomad/plugins/drivers"

	"github.com/lkl-nomad/nomad-driver-lkl/executor"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
)

// kernel is a task's unikernel and what the job and its manifest make of it.
type kernel struct {
	// source is what the job names. Others may write to it, so nothing that is
	// read from it is trusted once there is the copy.
	*source
	// private is the copy that the guest runs from; see kernels.
	private *os.File
	image   *unikernel.Info
	digest  string // sha256, in hexadecimal
	flavor  unikernel.Flavor
	tender  string
}

// readKernel finds the kernel that the job names, and gives the task a copy of
// it in dir.
func (s *start) readKernel(dir string) (*kernel, error) {
	src, err := openSource(s.task, s.d.config.ImagePaths, s.job.Kernel)
	if err != nil {
		return nil, err
	}
	k := &kernel{source: src}
	if err := k.take(s, filepath.Join(dir, kernelFile)); err != nil {
		_ = k.Close()
		return nil, fmt.Errorf("%s: %w", s.job.Kernel, src.rename(err))
	}
	return k, nil
}

// take reads the kernel twice: from the source, so that nothing is copied that
// is no unikernel, and from the copy, which is what counts.
func (k *kernel) take(s *start, path string) error {
	if k.info.IsDir() {
		return fmt.Errorf("%w: it is a directory", unikernel.ErrNotSolo5)
	}
	if err := k.read(k.source.File, &s.job); err != nil {
		return err
	}
	var err error
	if k.digest, err = s.d.kernels.link(s.ctx, s.d.config.StateDir, k.source, path); err != nil {
		return retryable(err)
	}
	if k.private, err = os.Open(path); err != nil {
		return retryable(err)
	}
	return k.read(k.private, &s.job)
}

func (k *kernel) read(f *os.File, job *TaskConfig) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if k.image, err = unikernel.Read(f, info.Size()); err != nil {
		return err
	}
	k.flavor = unikernel.Flavor(job.Flavor)
	if job.Flavor == auto || job.Flavor == "" {
		k.flavor = k.image.Flavor()
	}
	if k.image.Target != unikernel.TargetSPT {
		return fmt.Errorf("it is linked for %s, and this build of the driver has a tender for spt alone: link it with the spt bindings",
			k.image.Target)
	}
	k.tender = executor.TenderSPT
	return nil
}

// Close closes both files.
func (k *kernel) Close() error {
	if k.private != nil {
		_ = k.private.Close() // nothing was written through it
	}
	return k.source.Close()
}

// devices are the manifest's devices of one type, but for the executor's own.
func (k *kernel) devices(t unikernel.DeviceType) []string {
	var names []string
	for _, d := range k.image.Manifest {
		if d.Type == t && !k.isControl(d) {
			names = append(names, d.Name)
		}
	}
	return names
}

func (k *kernel) isControl(d unikernel.Device) bool {
	return d.Type == unikernel.Net && d.Name == unikernel.DeviceControl
}

// diskDevice is the block device that the rootfs backs; "" if there is none.
func (k *kernel) diskDevice() string { return first(k.devices(unikernel.Block)) }

// netDevice is the net device that the alloc's network backs; "" if there is none.
func (k *kernel) netDevice() string { return first(k.devices(unikernel.Net)) }

func first(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return names[0]
}

// check finds every way in which the job does not fit the kernel.
func (k *kernel) check(job *TaskConfig, task *drivers.TaskConfig) error {
	m := &mistakes{where: "task"}
	k.checkDisk(m, job)
	k.checkNetwork(m, job, task)
	k.checkProgram(m, job, task)
	if err := k.checkMemory(memoryLimit(task)); err != nil {
		m.add("resources", "%v", err)
	}
	return m.err()
}

// checkDisk holds the rootfs against the block devices. Each device of a
// manifest has to be there for the guest to start.
func (k *kernel) checkDisk(m *mistakes, job *TaskConfig) {
	names := k.devices(unikernel.Block)
	switch {
	case len(names) > 1:
		m.add("kernel", "declares the block devices %s, and the driver can back one", strings.Join(names, ", "))
	case len(names) == 0 && k.knows(unikernel.FeatureConfig):
		m.add("kernel", "is Linux, which needs a root file system, and declares no block device for it: link it with one in its manifest")
	case len(names) == 1 && names[0] != unikernel.DeviceRootfs && k.flavor == unikernel.FlavorLKL && !k.knows(unikernel.FeatureConfig):
		m.add("kernel", "declares the block device %q, and a guest that does not understand config (inspect KERNEL tells) finds its root on %q alone",
			names[0], unikernel.DeviceRootfs)
	case len(names) == 1 && job.Rootfs == "":
		m.add("rootfs", "is missing: the kernel declares the block device %q and does not start without it", names[0])
	case len(names) == 0 && job.Rootfs != "":
		m.add("rootfs", "cannot be given to this kernel, which declares no block device")
	}
	if job.RootfsSync == syncFlush && !k.knows(unikernel.FeatureFlush) {
		m.add("rootfs_sync", "%q is for guests that understand it (inspect KERNEL tells): write %q", syncFlush, syncWriteThrough)
	}
}

// knows tells whether the guest is Linux that says that it understands a thing:
// those of 2020 end with a fault when they are told what they do not know.
func (k *kernel) knows(f unikernel.Features) bool {
	return k.flavor == unikernel.FlavorLKL && k.image.Features.Has(f)
}

// checkProgram holds what is said of the program against what the guest knows.
func (k *kernel) checkProgram(m *mistakes, job *TaskConfig, task *drivers.TaskConfig) {
	if k.knows(unikernel.FeatureProgram) {
		return
	}
	const why = "cannot be told to this guest, which does not understand it (inspect KERNEL tells)"
	if job.WorkDir != "" {
		m.add("work_dir", why)
	}
	if task.User != "" {
		m.add("user", why)
	}
}

// checkNetwork holds the group's network against the net devices.
func (k *kernel) checkNetwork(m *mistakes, job *TaskConfig, task *drivers.TaskConfig) {
	names := k.devices(unikernel.Net)
	switch {
	case len(names) > 1:
		m.add("kernel", "declares the net devices %s, and the driver can back one", strings.Join(names, ", "))
	case len(names) == 1 && netnsOf(task) == "":
		m.add("network", "the kernel declares the net device %q, which needs a network of its own: write "+
			"network { mode = \"bridge\" } into the group", names[0])
	case len(names) == 0 && len(job.Ports) > 0:
		m.add("ports", "nobody answers on them: the kernel declares no net device")
	}
}

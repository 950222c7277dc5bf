// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"github.com/lkl-nomad/nomad-driver-lkl/internal/problems"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel/lkl"
)

// inspectHint is the advice in errors about features that a guest lacks.
const inspectHint = "run `nomad-driver-lkl inspect KERNEL` to list its features"

// check reports every way in which the job does not fit the kernel.
func (k kernelInfo) check(j job, plugin *Config) error {
	var list problems.List
	k.checkDisk(&list, &j.config)
	k.checkNetwork(&list, j, plugin)
	k.checkProgram(&list, j)
	k.checkGuestOptions(&list, j)
	k.checkMounts(&list, j)
	if err := k.checkMemory(memoryLimit(j.task)); err != nil {
		list.Addf("resources", "%w", err)
	}
	return taskConfigError(&list)
}

// checkDisk compares the rootfs with the manifest's block devices. A guest only
// starts with all devices of its manifest.
func (k kernelInfo) checkDisk(list *problems.List, config *TaskConfig) {
	root := k.diskDevice(config)
	switch {
	case root == "" && k.supports(unikernel.FeatureConfig):
		list.Addf("kernel", "declares no block device for the root, but Linux needs one for its root file system: "+
			"link it with one in its manifest")
	case root != "" && root != unikernel.DeviceRootfs && k.flavor == unikernel.FlavorLKL && !k.supports(unikernel.FeatureConfig):
		list.Addf("kernel", "declares the block device %q, but a guest without the feature config must name it %q (%s)",
			root, unikernel.DeviceRootfs, inspectHint)
	case root != "" && config.Rootfs == "" && config.Image == "":
		list.Addf("rootfs", "is missing: the kernel declares the block device %q and does not start without it", root)
	case root == "" && config.Rootfs != "":
		list.Addf("rootfs", "cannot be used with this kernel, which declares no block device for it")
	}
	if root == "" && config.Image != "" && config.RootfsSize != "" {
		list.Addf("rootfs_size", "cannot be used with this kernel, which declares no block device for it")
	}
	if config.RootfsSync == syncFlush && !k.supports(unikernel.FeatureFlush) {
		list.Addf("rootfs_sync", "%q is not supported by this guest: use %q (%s)", syncFlush, syncWriteThrough, inspectHint)
	}
	k.checkDisks(list, config)
	k.checkReadOnlyRoot(list, config)
}

// checkNetwork compares the job's network options with the manifest's net devices.
func (k kernelInfo) checkNetwork(list *problems.List, j job, plugin *Config) {
	k.checkInterfaces(list, j)
	if len(k.devices(unikernel.Net)) > 0 {
		j.config.checkNetworkMode(list, plugin, j.task)
		return
	}
	const message = "cannot be used with this kernel, which declares no net device"
	if len(j.config.Ports) > 0 {
		list.Addf("ports", message)
	}
	if j.config.Bandwidth != nil {
		list.Addf("bandwidth", message)
	}
}

// checkLinux checks the settings of the guest's Linux kernel.
func (k kernelInfo) checkLinux(list *problems.List, config *TaskConfig) {
	sysctls := config.sysctls()
	if k.flavor == unikernel.FlavorLKL {
		settings := lkl.Config{Sysctl: sysctls}
		if err := settings.CheckSysctl(k.elf.Features); err != nil {
			list.Addf("sysctl", "%w", err)
		}
		return
	}
	if len(sysctls) > 0 {
		list.Addf("sysctl", "is only supported by guests of flavor lkl")
	}
	if config.Hostname != "" {
		list.Addf("hostname", "is only supported by guests of flavor lkl")
	}
	if len(config.ExtraHosts) > 0 {
		list.Addf("extra_hosts", "is only supported by guests of flavor lkl")
	}
	if config.KernelLog {
		list.Addf("kernel_log", "is only supported by guests of flavor lkl")
	}
}

// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/lkl-nomad/nomad-driver-lkl/executor"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
)

// maxKernelFile is the maximum size of a kernel's file in bytes. The copy of a kernel stays
// on the host's disk, and the driver reads all of it for its digest.
const maxKernelFile = 1 << 30

// A kernel is a task's unikernel.
type kernel struct {
	// jobFile is the file that the job names, or nil for a kernel from an image. Others
	// may write to it, so the driver trusts only what it reads from the copy.
	*jobFile
	private *os.File // the file that the guest runs from; see kernelCache and imageKernel
	digest  string   // SHA-256 of the copy, in hexadecimal
	kernelInfo
}

// A kernelInfo is the content of a kernel's headers and manifest, and how the
// driver runs it.
type kernelInfo struct {
	elf    *unikernel.Info
	flavor unikernel.Flavor
	tender string
}

// readKernel opens the kernel that the job or its image names, and creates a private copy in
// the task's directory.
func (d *Driver) readKernel(ctx context.Context, j job, dir string) (*kernel, error) {
	if j.image != nil {
		return d.imageKernel(ctx, j, filepath.Join(dir, kernelFile))
	}
	file, err := openJobFile(j.task, d.config.ImagePaths, j.config.Kernel)
	if err != nil {
		return nil, err
	}
	k := &kernel{jobFile: file}
	if err := k.load(ctx, &d.kernels, j.config.Flavor, filepath.Join(dir, kernelFile)); err != nil {
		k.Close()
		return nil, fmt.Errorf("%s: %w", j.config.Kernel, file.wrap(err))
	}
	return k, nil
}

// load reads the kernel twice: first from the job's file, so that only a
// unikernel is copied, and then from the copy.
func (k *kernel) load(ctx context.Context, cache *kernelCache, flavor, path string) error {
	if k.info.IsDir() {
		return fmt.Errorf("%w: it is a directory", unikernel.ErrNotSolo5)
	}
	if size := k.info.Size(); size > maxKernelFile {
		return fmt.Errorf("the file has %d MiB, but a kernel may have at most %d MiB: remove its debug information with strip",
			size>>20, maxKernelFile>>20)
	}
	if _, err := readKernelInfo(k.File, flavor); err != nil {
		return err
	}
	var err error
	if k.digest, err = cache.link(ctx, k.jobFile, path); err != nil {
		return retryable(withDiskAdvice(err, k.name))
	}
	if k.private, err = os.Open(path); err != nil {
		return retryable(err)
	}
	k.kernelInfo, err = readKernelInfo(k.private, flavor)
	return err
}

func readKernelInfo(f *os.File, flavor string) (kernelInfo, error) {
	stat, err := f.Stat()
	if err != nil {
		return kernelInfo{}, err
	}
	elf, err := unikernel.Read(f, stat.Size())
	if err != nil {
		return kernelInfo{}, err
	}
	info := kernelInfo{elf: elf, flavor: unikernel.Flavor(flavor), tender: executor.TenderSPT}
	if flavor == auto || flavor == "" {
		info.flavor = elf.Flavor()
	}
	if elf.Target != unikernel.TargetSPT {
		return info, fmt.Errorf("it is linked for the target %s, but the driver only runs spt: link it with the spt bindings",
			elf.Target)
	}
	return info, nil
}

// Close closes the files.
func (k *kernel) Close() {
	if k.private != nil {
		_ = k.private.Close() // it was only read
	}
	if k.jobFile != nil {
		_ = k.jobFile.Close()
	}
}

// devices returns the names of the manifest's devices of one type, except for
// the control device.
func (k kernelInfo) devices(t unikernel.DeviceType) []string {
	var names []string
	for _, d := range k.elf.Manifest {
		if d.Type == t && !isControl(d) {
			names = append(names, d.Name)
		}
	}
	return names
}

func isControl(d unikernel.Device) bool {
	return d.Type == unikernel.Net && d.Name == unikernel.DeviceControl
}

// diskDevice returns the name of the block device for the rootfs, or "": "rootfs" if the
// manifest declares it, and otherwise the first one without a disk block.
func (k kernelInfo) diskDevice(config *TaskConfig) string {
	names := k.devices(unikernel.Block)
	if slices.Contains(names, unikernel.DeviceRootfs) && k.flavor == unikernel.FlavorLKL {
		return unikernel.DeviceRootfs
	}
	return firstOrEmpty(slices.DeleteFunc(names, func(name string) bool {
		_, isDisk := config.Disks[name]
		return isDisk
	}))
}

// maxMTU returns the largest MTU of a net device that the guest supports, in bytes.
func (k kernelInfo) maxMTU() int {
	if k.flavor != unikernel.FlavorLKL {
		return unikernel.MaxMTU
	}
	return k.elf.Features.MaxMTU()
}

func firstOrEmpty(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return names[0]
}

// supports reports whether the guest declares a feature. The driver must not use
// undeclared features: a legacy LKL guest faults on settings that it does not
// know.
func (k kernelInfo) supports(f unikernel.Features) bool {
	return k.flavor == unikernel.FlavorLKL && k.elf.Features.Has(f)
}

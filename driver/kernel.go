// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
	"sync"
	"syscall"

	"github.com/hashicorp/nomad/plugins/drivers"

	"github.com/lkl-nomad/nomad-driver-lkl/executor"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
)

// kernel is a task's unikernel and what the job and its manifest make of it.
type kernel struct {
	*source
	image  *unikernel.Image
	digest string // sha256, in hexadecimal
	flavor unikernel.Flavor
	tender string
}

// openKernel reads the kernel that the job names.
func openKernel(task *drivers.TaskConfig, plugin *Config, job *TaskConfig, known *digests) (*kernel, error) {
	src, err := openSource(task, plugin.ImagePaths, job.Kernel)
	if err != nil {
		return nil, err
	}
	k := &kernel{source: src}
	if err := k.read(job, known); err != nil {
		src.Close()
		return nil, fmt.Errorf("%s: %w", job.Kernel, err)
	}
	return k, nil
}

func (k *kernel) read(job *TaskConfig, known *digests) error {
	if k.info.IsDir() {
		return fmt.Errorf("%w: it is a directory", unikernel.ErrNotSolo5)
	}
	image, err := unikernel.Read(k.File, k.info.Size())
	if err != nil {
		return err
	}
	k.image = image
	k.flavor = unikernel.Flavor(job.Flavor)
	if job.Flavor == auto || job.Flavor == "" {
		k.flavor = image.Flavor()
	}
	if image.Target != unikernel.TargetSPT {
		return fmt.Errorf("it is linked for %s, and this build of the driver has a tender for spt alone: link it with the spt bindings",
			image.Target)
	}
	k.tender = executor.TenderSPT
	k.digest, err = known.of(k.source)
	return err
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
	if err := checkMemory(k.image, memoryLimit(task)); err != nil {
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
	case len(names) == 1 && job.Rootfs == "":
		m.add("rootfs", "is missing: the kernel declares the block device %q and does not start without it", names[0])
	case len(names) == 0 && job.Rootfs != "":
		m.add("rootfs", "cannot be given to this kernel, which declares no block device")
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

// digests remembers what files had which digest, so that a kernel that many
// tasks share is read once.
type digests struct {
	mu    sync.Mutex
	known map[fileVersion]string
}

// fileVersion tells a file's content from any other, as far as the file
// system's clock allows: whoever writes to a file changes its ctime.
type fileVersion struct {
	dev, ino     uint64
	size         int64
	mtime, ctime syscall.Timespec
}

// maxDigests bounds the memory that is held; beyond it, files are read again.
const maxDigests = 1024

func (d *digests) of(s *source) (string, error) {
	stat, ok := s.info.Sys().(*syscall.Stat_t)
	if !ok {
		return digest(s)
	}
	version := fileVersion{stat.Dev, stat.Ino, stat.Size, stat.Mtim, stat.Ctim}
	d.mu.Lock()
	sum := d.known[version]
	d.mu.Unlock()
	if sum != "" {
		return sum, nil
	}
	sum, err := digest(s)
	if err != nil {
		return "", err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.known == nil || len(d.known) >= maxDigests {
		d.known = map[fileVersion]string{}
	}
	d.known[version] = sum
	return sum, nil
}

func digest(s *source) (string, error) {
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(s, 0, s.info.Size())); err != nil {
		return "", fmt.Errorf("read the kernel: %w", plain(err))
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

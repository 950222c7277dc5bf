// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"slices"
	"strings"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/problems"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel/lkl"
)

// minStackSize is the smallest stack_size in bytes. A program whose stack is too small
// damages other memory, because a guest has no guard pages.
const minStackSize = 64 << 10

// stackSize returns the valid stack_size in bytes, or 0 for the guest's default.
func (t *TaskConfig) stackSize() uint64 {
	if t.StackSize == "" {
		return 0
	}
	size, _ := parseSize(t.StackSize) // validate has checked it
	return uint64(size)
}

func (t *TaskConfig) validateStackSize(list *problems.List) {
	if t.StackSize == "" {
		return
	}
	switch size, err := parseSize(t.StackSize); {
	case err != nil:
		list.Addf("stack_size", "%w", err)
	case size < minStackSize:
		list.Addf("stack_size", "%s is less than %d KiB", t.StackSize, minStackSize>>10)
	}
}

// withoutFlush are mount options with which ext4 sends no flushes to its disk.
var withoutFlush = []string{"nobarrier", "barrier=0"}

func (t *TaskConfig) validateRootfsOptions(list *problems.List, hasRoot bool) {
	if t.RootfsOptions == "" {
		return
	}
	if err := lkl.CheckMountOptions(t.RootfsOptions); err != nil {
		list.Addf("rootfs_options", "%w", err)
	}
	if !hasRoot {
		list.Addf("rootfs_options", "is set without a rootfs: set rootfs too, or remove it")
	}
	if t.RootfsSync != syncFlush && (t.RootfsSync != "" || t.RootfsPersist == "") {
		return // a root disk that outlives the task is flushed by default
	}
	for _, option := range strings.Split(t.RootfsOptions, ",") {
		if slices.Contains(withoutFlush, option) {
			list.Addf("rootfs_options", "%q makes rootfs_sync = %q useless: remove one of them", option, syncFlush)
		}
	}
}

// checkGuestOptions reports options that the guest does not read, or has no memory for.
func (k kernelInfo) checkGuestOptions(list *problems.List, j job) {
	reads := k.supports(unikernel.FeatureConfig)
	if j.config.RootfsOptions != "" && !reads {
		list.Addf("rootfs_options", "is not supported by this guest (%s)", inspectHint)
	}
	k.checkArgv0(list, &j.config)
	switch memory := memoryLimit(j.task); {
	case j.config.StackSize != "" && !reads:
		list.Addf("stack_size", "is not supported by this guest (%s)", inspectHint)
	case j.config.stackSize() > memory/2:
		list.Addf("stack_size", "%s is more than half of the task's memory, which is %d MiB", j.config.StackSize, memory>>20)
	}
}

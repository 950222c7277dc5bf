// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"fmt"
	"maps"
	"strconv"

	"github.com/hashicorp/nomad/plugins/drivers"

	"github.com/lkl-nomad/nomad-driver-lkl/executor"
	"github.com/lkl-nomad/nomad-driver-lkl/executor/cgroup"
	"github.com/lkl-nomad/nomad-driver-lkl/executor/client"
)

// handleVersion is the version of taskState. Later versions may add fields, but
// keep the names and meanings of those here: then a task survives a downgrade
// of the plugin too.
const handleVersion = 3

// A taskState is the driver's part of the handle that Nomad keeps for
// RecoverTask. It suffices to find all of a task's resources.
type taskState struct {
	Dir      string           `codec:"Dir"` // the task's directory in state_dir
	Tender   string           `codec:"Tender"`
	Executor executor.Process `codec:"Executor"`
	Guest    executor.Process `codec:"Guest"`
	UID      int              `codec:"UID"`
	Control  bool             `codec:"Control"` // signals reach the program in the guest

	Kernel       string `codec:"Kernel"`       // as the job or its image names it
	KernelDigest string `codec:"KernelDigest"` // SHA-256
	Flavor       string `codec:"Flavor"`
	GuestMemory  uint64 `codec:"GuestMemory"` // bytes

	// These are those of the first link, for plugins that know no Links. Without a network
	// they are empty.
	IP    string `codec:"IP"`
	MAC   string `codec:"MAC"`
	Netns string `codec:"Netns"` // the alloc's
	Tap   string `codec:"Tap"`

	Cgroup    cgroup.Spec `codec:"Cgroup"`
	StartedAt int64       `codec:"StartedAt"` // nanoseconds since 1970

	// These are empty without an image, and in handles of version 1.
	Image       string `codec:"Image"`       // as the job names it
	ImageDigest string `codec:"ImageDigest"` // of its manifest, such as sha256:…
	StopSignal  string `codec:"StopSignal"`  // the image's

	// Links are the guest's net devices. Handles of versions 1 and 2 have none.
	Links []link `codec:"Links"`
}

// allLinks returns the guest's links. A task of an earlier version has at most one.
func (s taskState) allLinks() []link {
	if len(s.Links) == 0 && s.Tap != "" {
		return []link{{Mode: modeL2, Netns: s.Netns, Tap: s.Tap, IP: s.IP, MAC: s.MAC}}
	}
	return s.Links
}

// encodeHandle returns the handle of a running task.
func encodeHandle(task *drivers.TaskConfig, state taskState) (*drivers.TaskHandle, error) {
	handle := drivers.NewTaskHandle(handleVersion)
	handle.Config = task
	handle.State = drivers.TaskStateRunning
	if err := handle.SetDriverState(&state); err != nil {
		return nil, fmt.Errorf("encode the driver's state: %w", err)
	}
	return handle, nil
}

// decodeState reads the driver's part of a handle. Of a handle that a newer
// plugin made, it reads the fields that this plugin knows.
func decodeState(h *drivers.TaskHandle) (taskState, error) {
	var state taskState
	if err := h.GetDriverState(&state); err != nil {
		return taskState{}, fmt.Errorf("decode a handle of version %d: %w", h.Version, err)
	}
	if state.Dir == "" {
		return taskState{}, fmt.Errorf("a handle of version %d names no task directory", h.Version)
	}
	return state, nil
}

// known returns the processes and control groups that the handle names. They
// can be found even if the task's directory is lost.
func (s taskState) known() client.Known {
	return client.Known{Executor: s.Executor, Guest: s.Guest, Cgroup: s.Cgroup}
}

// attributes returns the attributes that InspectTask shows.
func (s taskState) attributes() map[string]string {
	all := map[string]string{
		"tender":        s.Tender,
		"flavor":        s.Flavor,
		"pid":           strconv.Itoa(s.Guest.Pid),
		"executor_pid":  strconv.Itoa(s.Executor.Pid),
		"kernel":        s.Kernel,
		"kernel_sha256": s.KernelDigest,
		"guest_memory":  strconv.FormatUint(s.GuestMemory, 10),
		"cgroup":        cgroupPath(s.Cgroup),
		"image":         s.Image,
		"image_digest":  s.ImageDigest,
	}
	networkAttributes(all, s.allLinks(), link.attributes)
	maps.DeleteFunc(all, func(_, value string) bool { return value == "" })
	return all
}

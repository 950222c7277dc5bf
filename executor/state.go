// SPDX-License-Identifier: MPL-2.0

package executor

import (
	"time"

	"github.com/lkl-nomad/nomad-driver-lkl/executor/cgroup"
)

// State is what an executor says of itself and its running guest.
type State struct {
	Version  int       // of the executor
	Task     string    // Plan.Task
	Tender   string    // Plan.Tender
	Guest    Process   // the guest's process
	Executor Process   // the executor itself
	UID      int       // the guest's uid and gid
	Started  time.Time // when the guest's process began
	Control  bool      // signals reach the program in the guest
	Dropped  uint64    // bytes of console output that no reader took in time
}

// Exit is how a guest ended.
type Exit struct {
	Code      int    // exit status, 0 to 255
	Signal    int    // signal that ended the process, 0 if none
	OOMKilled bool   // the kernel counted an out-of-memory kill in the task's cgroup
	Reason    string // one line for the operator
	Finished  time.Time
	Dropped   uint64 // State.Dropped at the time of writing
}

// Stats are the resources that a task has used up to Time.
type Stats struct {
	Time time.Time

	// CPU time of the guest's process in nanoseconds. Total is exact; the
	// kernel accounts the split in ticks.
	TotalNS, UserNS, SystemNS uint64
	ExecutorNS                uint64 // CPU time of the executor

	CPU cgroup.CPU // throttling by the cgroup

	// Memory of the task, guest and executor together, as its memory cgroup
	// counts it. Without one only RSS is set, for the guest alone.
	Memory cgroup.Memory

	GuestRSS        uint64 // bytes resident in the guest's process
	ExecutorPrivate uint64 // bytes that only the executor maps

	Dropped uint64 // bytes of console output that no reader took in time
}

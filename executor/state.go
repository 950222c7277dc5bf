// SPDX-License-Identifier: MPL-2.0

package executor

import (
	"time"

	"github.com/lkl-nomad/nomad-driver-lkl/executor/cgroup"
)

// State describes an executor and its running guest.
type State struct {
	Version  int       `json:"Version"`        // newest version that the executor supports
	Task     string    `json:"Task"`           // Plan.Task
	Tender   string    `json:"Tender"`         // Plan.Tender
	Guest    Process   `json:"Guest"`          // the guest's process
	Executor Process   `json:"Executor"`       // the executor itself
	Files    Process   `json:"Files,omitzero"` // the file server; zero if the task has none
	UID      int       `json:"UID"`            // UID and GID of the guest
	Started  time.Time `json:"Started"`        // when the guest's process began
	Control  bool      `json:"Control"`        // signals reach the program in the guest
	Dropped  uint64    `json:"Dropped"`        // bytes of output lost to a slow reader
	// FilesEnded is how the file server ended while the guest ran, or "".
	FilesEnded string `json:"FilesEnded,omitempty"`
}

// Exit describes how a guest ended.
type Exit struct {
	Code      int       `json:"Code"`      // exit status, 0 to 255
	Signal    int       `json:"Signal"`    // signal that ended the process; 0: it exited by itself
	OOMKilled bool      `json:"OOMKilled"` // the kernel counted an out-of-memory kill in the task's cgroup
	Reason    string    `json:"Reason"`    // one line for the operator
	Finished  time.Time `json:"Finished"`
	Dropped   uint64    `json:"Dropped"` // the last value of State.Dropped
	// Message is the last line of the guest's output if the guest's kernel or its start
	// program has printed it: the reason of its end. Otherwise it is "".
	Message string `json:"Message,omitempty"`
	// FilesEnded is the last value of State.FilesEnded.
	FilesEnded string `json:"FilesEnded,omitempty"`
}

// Stats are the resources that a task has used up to Time.
type Stats struct {
	Time time.Time

	// CPU time of the guest's process in nanoseconds. Total is exact; the
	// kernel accounts the split in ticks.
	TotalNS, UserNS, SystemNS uint64
	ExecutorNS                uint64 // CPU time of the executor and the file server

	CPU cgroup.CPU // throttling by the cgroup

	// Memory of guest and executor together, as counted by the task's memory
	// cgroup. Without a cgroup, only RSS is set, to GuestRSS.
	Memory cgroup.Memory

	GuestRSS uint64 // bytes resident in the guest's process

	Dropped    uint64 // bytes of output lost to a slow reader
	FilesEnded string // State.FilesEnded
}

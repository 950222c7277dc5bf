// SPDX-License-Identifier: MPL-2.0

// Package jail starts the file server of a task (Start), and confines it (Main).
//
// The executor starts the server in new mount, network, IPC, UTS and PID namespaces. Before
// the server reads its first request, it makes a root directory that contains only the
// shares and a directory to reopen its own descriptors, changes to the user of the job,
// gives up its capabilities, and installs Landlock rules and a system call filter.
//
// The namespaces are made by the clone(2) that creates the process, because unshare(2) would
// apply to a single thread, and Go programs have several from the start.
package jail

import "github.com/lkl-nomad/nomad-driver-lkl/files"

// Descriptors of a server at its start.
const (
	nullFD     = 0 // /dev/null, also as descriptor 1
	reportFD   = 2 // a pipe to the executor: ready, or a line with an error
	planFD     = 3 // a memory file with the files.Plan
	connFD     = 4 // a SOCK_SEQPACKET socket, the other end of which the guest has
	firstShare = 5 // detached mounts of the shares, in their order, and behind them the program
)

// ready is the report of a server that has confined itself.
const ready = "ready\n"

// maxPlan limits the size of a plan in bytes.
const maxPlan = 1 << 20

// An Inside is the view of a confined server.
type Inside struct {
	Plan *files.Plan
	Conn int // the socket of the guest
	// Roots are O_PATH descriptors of the shares, in the order of Plan.Shares. Shares are
	// mounts; ".." does not lead out of them.
	Roots []int
	// ProcSelfFD is an O_PATH descriptor of /proc/self/fd, to reopen O_PATH descriptors.
	ProcSelfFD int
}

// SPDX-License-Identifier: MPL-2.0

package executor

import (
	"encoding/json"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/eintr"
)

// The protocol: a client connects to the socket, writes a Request as one line of
// JSON, reads a Response as one line of JSON, and closes the connection. The
// responses to OpWait and OpStop come when the guest has ended.
//
// There is no request for resource usage. ReadStats reads it from the kernel, so
// an idle executor stays asleep and allocates nothing.
//
// ttrpc, which containerd's shims use, would bring protocol buffers and several
// goroutines per connection into a process that is budgeted at 4 MiB.

// An Order is the first message to an executor: one line of JSON over PlanFD.
type Order struct {
	Files int  `json:"Files"` // number of inherited files, from descriptor PlanFD+1 on
	Plan  Plan `json:"Plan"`
}

// An Op is an operation of the protocol.
type Op string

// The operations.
const (
	OpState  Op = "state"  // returns State
	OpWait   Op = "wait"   // returns Exit when the guest has ended
	OpSignal Op = "signal" // sends Request.Signal to the guest
	OpStop   Op = "stop"   // sends Request.Signal, and SIGKILL after the timeout; returns Exit
)

// A Request is a client's message to a running executor.
type Request struct {
	Version   int   `json:"Version"`
	Op        Op    `json:"Op"`
	Signal    int   `json:"Signal,omitempty"`
	TimeoutMS int64 `json:"TimeoutMS,omitempty"`
}

// A Response is the executor's answer to a Request, in the version of the
// request. It also answers the Order: with State when the guest runs, or with
// Error.
type Response struct {
	Version int    `json:"Version"`
	Error   string `json:"Error,omitempty"`
	State   *State `json:"State,omitempty"`
	Exit    *Exit  `json:"Exit,omitempty"`
}

// maxRequest is the size limit of a request in bytes.
const maxRequest = 1024

// writeResponse writes a response to a socket. Go's runtime ignores the SIGPIPE of a
// client that has gone.
func writeResponse(fd int, r Response) error {
	b, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode the response: %w", err)
	}
	b = append(b, '\n')
	for len(b) > 0 {
		n, err := eintr.Retry(func() (int, error) { return unix.Write(fd, b) })
		if err != nil {
			return fmt.Errorf("send the response: %w", err)
		}
		b = b[n:]
	}
	return nil
}

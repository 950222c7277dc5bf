// SPDX-License-Identifier: MPL-2.0

package executor

// The protocol: a client connects to the socket, writes one line of JSON, a
// Request, and reads one line of JSON, a Response; then the connection ends.
// The answer to Wait, Stop and Shutdown comes when the guest has ended.
//
// What a task uses is not asked for: ReadStats takes it from the kernel, so
// that an idle executor sleeps, and produces no garbage for as long as it lives.

// An Order is what an executor gets first, as one line over PlanFD.
type Order struct {
	Files int // that follow PlanFD
	Plan  Plan
}

// An Op is what a client asks for.
type Op string

// The operations.
const (
	OpState    Op = "state"
	OpWait     Op = "wait"
	OpSignal   Op = "signal"   // Signal
	OpStop     Op = "stop"     // Signal, and SIGKILL after TimeoutMS
	OpShutdown Op = "shutdown" // SIGKILL now
)

// A Request is what a client writes.
type Request struct {
	Version   int
	Op        Op
	Signal    int   `json:",omitempty"`
	TimeoutMS int64 `json:",omitempty"`
}

// A Response is what the executor writes: Error, or what was asked for. The
// same, with Error or State, answers the plan when the guest runs.
type Response struct {
	Version int
	Error   string `json:",omitempty"`
	State   *State `json:",omitempty"`
	Exit    *Exit  `json:",omitempty"`
}

// maxRequest bounds the line that a client may send, in bytes.
const maxRequest = 1024

// SPDX-License-Identifier: MPL-2.0

package executor

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"
)

const (
	// firstFile is the descriptor of the plan's file 0: 0 to 2 are standard,
	// PlanFD is the plan's.
	firstFile = PlanFD + 1
	// maxPlan bounds the plan, in bytes: a command line of 8 KiB in which
	// every byte is escaped, and 63 devices, fit in a quarter of it.
	maxPlan = 256 << 10
)

// PlanFD is the descriptor over which the plan comes.
const PlanFD = 3

// Main is the executor's program. It returns the exit status of the process.
//
// The calling goroutine must be locked to the process's main thread: the
// kernel kills the guest when the thread that started it ends, and counts
// memory where that thread is.
func Main() int {
	order, err := receive()
	if err != nil {
		// Nobody is there who would read more than this.
		_, _ = unix.Write(2, []byte("lkl-executor: it is started by nomad-driver-lkl, not by hand: "+err.Error()+"\n"))
		return 2
	}
	t, err := start(&order.Plan, order.Files)
	if err != nil {
		_ = answer(PlanFD, Response{Version: Version, Error: err.Error()})
		return 1
	}
	state := t.state()
	if err := answer(PlanFD, Response{Version: Version, State: &state}); err != nil {
		// The plugin is gone and nobody knows of this task, nor will the next
		// plugin run it.
		t.kill("the plugin ended while it started the task")
	}
	_ = unix.Close(PlanFD)
	forgetStart()
	return t.serve()
}

// receive reads the order, one line of JSON.
func receive() (*Order, error) {
	kind, err := unix.GetsockoptInt(PlanFD, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil || kind != unix.SOCK_STREAM {
		return nil, fmt.Errorf("descriptor %d is not the plan's socket", PlanFD)
	}
	line, err := receiveLine()
	if err != nil {
		return nil, err
	}
	var order Order
	if err := json.Unmarshal(line, &order); err != nil {
		return nil, fmt.Errorf("decode the plan: %w", err)
	}
	if err := disinherit(firstFile + order.Files); err != nil {
		return nil, fmt.Errorf("close foreign descriptors: %w", err)
	}
	return &order, nil
}

// disinherit sees to it that no descriptor is passed on by accident: what is
// ours is closed in every program started from here, and what the plugin
// has from its own parents and passed on unknowingly is closed now. The latter
// is known by not being closed on exec, or it would not be here.
func disinherit(firstForeign int) error {
	dir, err := unix.Open("/proc/self/fd", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(dir) }()
	block := make([]byte, 4096)
	var names []string
	for {
		n, err := unix.ReadDirent(dir, block)
		if err != nil {
			return err
		}
		if n == 0 {
			break
		}
		_, _, names = unix.ParseDirent(block[:n], -1, names)
	}
	for _, name := range names {
		fd, err := strconv.Atoi(name)
		if err != nil || fd < PlanFD {
			continue
		}
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		switch {
		case err != nil || flags&unix.FD_CLOEXEC != 0:
		case fd >= firstForeign:
			_ = unix.Close(fd)
		default:
			unix.CloseOnExec(fd)
		}
	}
	return nil
}

func receiveLine() ([]byte, error) {
	line := make([]byte, 0, 4096)
	for {
		if len(line) == cap(line) {
			line = append(line, 0)[:len(line)]
		}
		n, err := unix.Read(PlanFD, line[len(line):cap(line)])
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return nil, fmt.Errorf("read the plan: %w", err)
		case n == 0:
			return nil, errors.New("the plan has no end: the plugin died")
		}
		line = line[:len(line)+n]
		if bytes.IndexByte(line[len(line)-n:], '\n') >= 0 {
			return line, nil
		}
		if len(line) > maxPlan {
			return nil, fmt.Errorf("the plan is longer than %d bytes", maxPlan)
		}
	}
}

// answer writes one line to a socket.
func answer(fd int, r Response) error {
	b, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}
	b = append(b, '\n')
	for len(b) > 0 {
		n, err := unix.SendmsgN(fd, b, nil, nil, unix.MSG_NOSIGNAL)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("answer: %w", err)
		}
		b = b[n:]
	}
	return nil
}

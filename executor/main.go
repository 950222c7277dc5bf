// SPDX-License-Identifier: MPL-2.0

package executor

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/eintr"
)

// Program is the name of the executor's program.
const Program = "lkl-executor"

const (
	// PlanFD is the descriptor of the socket from which the executor reads its
	// Order.
	PlanFD = 3
	// firstFile is the descriptor of the first inherited file.
	firstFile = PlanFD + 1
	// maxOrder limits the size of an order in bytes. An order with 63 devices and
	// a command line of 8 KiB, every byte of it escaped, takes a quarter of this.
	maxOrder = 256 << 10
)

// Main is the executor's program. It returns the exit status of the process.
//
// The calling goroutine must be locked to the main thread of the process. The
// kernel kills the guest when the thread that started it ends, and charges
// memory to the cgroup of the main thread.
func Main() int {
	order, err := receiveOrder()
	if err != nil {
		_, _ = unix.Write(2, []byte("lkl-executor: "+err.Error()+" (nomad-driver-lkl starts this program; it cannot be used by hand)\n"))
		return 2
	}
	t, err := start(&order.Plan, order.Files)
	if err != nil {
		_ = writeResponse(PlanFD, Response{Version: Version, Error: err.Error()})
		return 1
	}
	state := t.state()
	if err := writeResponse(PlanFD, Response{Version: order.Plan.Version, State: &state}); err != nil {
		// The plugin has ended without recording this task, so no later plugin
		// will supervise it.
		t.kill("the plugin ended while it started the task")
	}
	_ = unix.Close(PlanFD)
	maps := openMaps()
	// The plugin does not wait for this. Nothing of the guest has been read yet.
	if err := t.confine(); err != nil {
		t.kill("the executor cannot confine itself: " + err.Error())
	}
	dropStartupPages(maps)
	return t.serve()
}

// receiveOrder reads the order, one line of JSON, and closes the descriptors that
// do not belong to it.
func receiveOrder() (*Order, error) {
	kind, err := unix.GetsockoptInt(PlanFD, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil || kind != unix.SOCK_STREAM {
		return nil, fmt.Errorf("descriptor %d is not a stream socket", PlanFD)
	}
	line, err := readOrder()
	if err != nil {
		return nil, err
	}
	var order Order
	if err := json.Unmarshal(line, &order); err != nil {
		return nil, fmt.Errorf("decode the plan: %w", err)
	}
	if err := closeUnknownFDs(firstFile + order.Files); err != nil {
		return nil, fmt.Errorf("close unknown descriptors: %w", err)
	}
	return &order, nil
}

// closeUnknownFDs closes inherited descriptors from firstUnknown on: the plugin
// itself may have inherited them and passed them on. It sets close-on-exec for
// the others. Descriptors that this process opened have that flag already, so
// they are not mistaken for inherited ones.
func closeUnknownFDs(firstUnknown int) error {
	fds, err := openFDs()
	if err != nil {
		return err
	}
	for _, fd := range fds {
		if fd < PlanFD {
			continue
		}
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		switch {
		case err != nil || flags&unix.FD_CLOEXEC != 0:
		case fd >= firstUnknown:
			_ = unix.Close(fd)
		default:
			unix.CloseOnExec(fd)
		}
	}
	return nil
}

// openFDs lists the descriptors of this process. os.ReadDir would start the
// runtime's poller, which costs memory.
func openFDs() (fds []int, err error) {
	dir, err := unix.Open("/proc/self/fd", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = unix.Close(dir) }()
	block := make([]byte, 4096)
	var names []string
	for {
		n, err := unix.ReadDirent(dir, block)
		if err != nil {
			return nil, err
		}
		if n == 0 {
			break
		}
		_, _, names = unix.ParseDirent(block[:n], -1, names)
	}
	for _, name := range names {
		if fd, err := strconv.Atoi(name); err == nil {
			fds = append(fds, fd)
		}
	}
	return fds, nil
}

func readOrder() ([]byte, error) {
	line := make([]byte, 0, 4096)
	for {
		if len(line) == cap(line) {
			line = append(line, 0)[:len(line)]
		}
		n, err := eintr.Retry(func() (int, error) { return unix.Read(PlanFD, line[len(line):cap(line)]) })
		switch {
		case err != nil:
			return nil, fmt.Errorf("read the plan: %w", err)
		case n == 0:
			return nil, errors.New("the plan is incomplete: the plugin has ended")
		}
		line = line[:len(line)+n]
		if bytes.IndexByte(line[len(line)-n:], '\n') >= 0 {
			return line, nil
		}
		if len(line) > maxOrder {
			return nil, fmt.Errorf("the plan is longer than %d bytes", maxOrder)
		}
	}
}

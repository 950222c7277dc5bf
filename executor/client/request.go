// SPDX-License-Identifier: MPL-2.0

package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/executor"
)

// A RefusedError is an executor's answer to a request that it cannot carry out.
type RefusedError struct{ Reason string }

// Error returns the executor's reason.
func (e *RefusedError) Error() string { return e.Reason }

// ErrIncompatible reports an executor that supports no protocol version of this
// plugin; see Client.Compatible.
var ErrIncompatible = errors.New("install a plugin that supports one of the executor's versions; " +
	"until then the task runs on, but it receives no signals, and stopping it kills the guest")

// negotiate returns the newest protocol version that both the executor and this
// plugin support, or ErrIncompatible.
func negotiate(id executor.Identity) (int, error) {
	version := min(id.Version, executor.Version)
	if version < max(id.MinVersion, executor.MinVersion) {
		return 0, fmt.Errorf("executor %d supports protocol versions %d to %d, and this plugin versions %d to %d: %w",
			id.Executor.Pid, max(id.MinVersion, 1), id.Version, executor.MinVersion, executor.Version, ErrIncompatible)
	}
	return version, nil
}

// maxResponse is the size limit of a response in bytes.
const maxResponse = 64 << 10

// request sends a request and reads the response. It returns ErrNotRunning if
// the executor is gone, and a RefusedError if the executor refuses.
func (c *Client) request(ctx context.Context, req executor.Request) (executor.Response, error) {
	if c.incompatible != nil {
		return executor.Response{}, c.incompatible
	}
	req.Version = c.version
	r, err := c.roundTrip(ctx, req)
	if err == nil && r.Error != "" {
		return r, fmt.Errorf("executor %d: %w", c.id.Executor.Pid, &RefusedError{r.Error})
	}
	if err == nil {
		return r, nil
	}
	if ctx.Err() != nil {
		return r, fmt.Errorf("executor %d: %s: %w", c.id.Executor.Pid, req.Op, ctx.Err())
	}
	if !c.id.Executor.Alive() {
		err = fmt.Errorf("%w (%w)", ErrNotRunning, err)
	}
	return r, fmt.Errorf("executor %d: %s: %w", c.id.Executor.Pid, req.Op, err)
}

// roundTrip connects to the executor for one request.
func (c *Client) roundTrip(ctx context.Context, req executor.Request) (executor.Response, error) {
	var r executor.Response
	dir, err := os.Open(c.dir)
	if err != nil {
		return r, err
	}
	conn, err := dial(ctx, socketPath(dir))
	_ = dir.Close()
	if err != nil {
		return r, err
	}
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := checkPeer(conn, c.id.Executor.Pid); err != nil {
		return r, err
	}
	b, err := json.Marshal(req)
	if err != nil {
		return r, err
	}
	if _, err := conn.Write(append(b, '\n')); err != nil {
		return r, err
	}
	return readResponse(conn)
}

// socketPath returns a path to the executor's socket through the descriptor of
// the state directory, which must stay open. It is short enough for a socket
// address (108 bytes), however long the path of the directory is.
func socketPath(dir *os.File) string {
	return filepath.Join("/proc/self/fd", fmt.Sprint(dir.Fd()), executor.SocketFile)
}

// dial connects to a unix socket. It retries while the socket's backlog is full.
func dial(ctx context.Context, path string) (net.Conn, error) {
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
		if !errors.Is(err, unix.EAGAIN) {
			return conn, err
		}
		if err := pause(ctx); err != nil {
			return nil, err
		}
	}
}

// pause waits for retryPause, to give a busy executor some time.
func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(retryPause):
		return nil
	}
}

func readResponse(from io.Reader) (executor.Response, error) {
	var r executor.Response
	err := json.NewDecoder(io.LimitReader(from, maxResponse)).Decode(&r)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return r, err
}

// checkPeer verifies the PID of the process that listens on the socket.
func checkPeer(conn net.Conn, pid int) error {
	raw, err := conn.(syscall.Conn).SyscallConn()
	if err != nil {
		return err
	}
	var cred *unix.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err := errors.Join(err, credErr); err != nil {
		return fmt.Errorf("get the PID of the socket's listener: %w", err)
	}
	if int(cred.Pid) != pid {
		return fmt.Errorf("process %d listens on the socket, not %d", cred.Pid, pid)
	}
	return nil
}

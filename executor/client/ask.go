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
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/executor"
)

// A RefusedError is what an executor answers to a request that it cannot
// carry out.
type RefusedError struct{ Reason string }

// Error is the executor's reason.
func (e *RefusedError) Error() string { return e.Reason }

// maxAnswer bounds what is read from an executor, in bytes.
const maxAnswer = 64 << 10

// ask sends one request and reads the answer. It returns ErrNotRunning when
// the connection fails because the executor is gone.
func (c *Client) ask(ctx context.Context, req executor.Request) (executor.Response, error) {
	req.Version = executor.Version
	r, err := c.exchange(ctx, req)
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

func (c *Client) exchange(ctx context.Context, req executor.Request) (executor.Response, error) {
	var r executor.Response
	dir, err := os.Open(c.dir)
	if err != nil {
		return r, err
	}
	conn, err := dial(ctx, socket(dir))
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

// dial connects to a unix socket. Too many others that want the same are no
// reason to give up.
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

// pause lets an executor that is busy, or on its way out, get on.
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
	err := json.NewDecoder(io.LimitReader(from, maxAnswer)).Decode(&r)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return r, err
}

// checkPeer makes sure that the process at the other end is the one meant.
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
		return fmt.Errorf("who listens on the socket: %w", err)
	}
	if int(cred.Pid) != pid {
		return fmt.Errorf("process %d listens on the socket, not %d", cred.Pid, pid)
	}
	return nil
}

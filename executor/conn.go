// SPDX-License-Identifier: MPL-2.0

package executor

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// maxConns is how many clients are served at a time, besides those that
	// were and wait for the guest's end: signal and stop get through whatever
	// waits. More have to queue.
	maxConns = 64
	// maxWaiting is how many may wait for the guest's end.
	maxWaiting = 512
	// requestTimeout is how long a client may take to write its request.
	requestTimeout = 5 * time.Second
)

// A conn is one client.
type conn struct {
	fd       int // -1 when closed
	request  []byte
	waiting  bool      // it is answered when the guest has ended
	deadline time.Time // for the request
}

func (t *task) accept(now time.Time) {
	fd, _, err := unix.Accept4(t.listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
	if err != nil {
		return // it has gone again, or there is no descriptor left for it now
	}
	// Beside the directory's mode: only the user that runs the plugin.
	peer, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil || int(peer.Uid) != os.Geteuid() && peer.Uid != 0 {
		_ = unix.Close(fd)
		return
	}
	t.conns = append(t.conns, &conn{fd: fd, deadline: now.Add(requestTimeout)})
}

// waiting is how many clients wait for the guest's end.
func (t *task) waiting() (n int) {
	for _, c := range t.conns {
		if c.waiting {
			n++
		}
	}
	return n
}

// attendConns reads what clients say and forgets those that are gone. The
// connections are those of the last poll, in its order.
func (t *task) attendConns(now time.Time) {
	left := t.conns[:0]
	for i, c := range t.conns {
		if t.fds[slotConns+i].Revents != 0 {
			t.hear(now, c)
		}
		if !c.deadline.IsZero() && !now.Before(c.deadline) {
			c.close()
		}
		if c.fd >= 0 {
			left = append(left, c)
		}
	}
	clear(t.conns[len(left):])
	t.conns = left
}

// hear reads from a client. One that waits has nothing more to say: whatever
// comes is its end.
func (t *task) hear(now time.Time, c *conn) {
	var b [maxRequest]byte
	n, err := unix.Read(c.fd, b[:])
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
		return
	}
	if n <= 0 || c.waiting || len(c.request)+n > maxRequest {
		c.close()
		return
	}
	c.request = append(c.request, b[:n]...)
	line, _, whole := bytes.Cut(c.request, []byte{'\n'})
	if !whole {
		return
	}
	c.deadline = time.Time{}
	var req Request
	if err := json.Unmarshal(line, &req); err != nil {
		c.finish(Response{Error: "decode the request: " + err.Error()})
		return
	}
	t.dispatch(now, c, req)
}

// dispatch does what a client asks for. Who asks for the guest's end is
// answered by serve.
func (t *task) dispatch(now time.Time, c *conn, req Request) {
	if req.Version > Version {
		c.finish(Response{Error: fmt.Sprintf("request of version %d: this executor is of version %d", req.Version, Version)})
		return
	}
	switch req.Op {
	case OpState:
		state := t.state()
		c.finish(Response{State: &state})
	case OpSignal:
		c.finish(failure(t.signal("signal", syscall.Signal(req.Signal))))
	case OpStop:
		t.stop(now, syscall.Signal(req.Signal), time.Duration(req.TimeoutMS)*time.Millisecond)
		c.waiting = true
	case OpShutdown:
		t.kill("the plugin wanted it gone")
		c.waiting = true
	case OpWait:
		if t.waiting() >= maxWaiting {
			c.finish(Response{Error: fmt.Sprintf("%d clients wait for the task already", maxWaiting)})
			return
		}
		c.waiting = true
	default:
		c.finish(Response{Error: fmt.Sprintf("unknown operation %q", req.Op)})
	}
}

// failure is the answer to what has no other result than that it failed.
func failure(err error) Response {
	if err != nil {
		return Response{Error: err.Error()}
	}
	return Response{}
}

func (c *conn) respond(r Response) {
	r.Version = Version
	// An answer fits the socket's buffer; a client that has gone wants none.
	_ = answer(c.fd, r)
}

func (c *conn) finish(r Response) {
	c.respond(r)
	c.close()
}

func (c *conn) close() {
	if c.fd >= 0 {
		_ = unix.Close(c.fd)
		c.fd = -1
	}
}

// SPDX-License-Identifier: MPL-2.0

package executor

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// maxConns limits concurrent requests; further clients queue in the socket's
	// backlog. Clients blocked in wait or stop do not count, so they cannot
	// starve a signal.
	maxConns = 64
	// maxWaiting limits the clients that wait for the guest's end.
	maxWaiting = 512
	// requestTimeout limits the time in which a client must send its request.
	requestTimeout = 5 * time.Second
)

// A conn is the connection of one client.
type conn struct {
	fd       int // -1 when closed
	request  []byte
	version  int       // of the request
	waiting  bool      // for the guest's end
	deadline time.Time // of the request; zero once it has arrived
}

func (t *task) accept(now time.Time) {
	fd, _, err := unix.Accept4(t.listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
	if err != nil {
		return // the client has gone, or no descriptor is free; poll reports the latter again
	}
	// The mode of the directory already keeps other users away.
	peer, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil || int(peer.Uid) != t.plugin && peer.Uid != 0 {
		_ = unix.Close(fd)
		return
	}
	t.conns = append(t.conns, &conn{fd: fd, version: Version, deadline: now.Add(requestTimeout)})
}

// waitingClients counts the clients that wait for the guest's end.
func (t *task) waitingClients() (n int) {
	for _, c := range t.conns {
		if c.waiting {
			n++
		}
	}
	return n
}

// handleConns reads from the connections that poll reported, and drops those
// that are closed. t.conns is unchanged since preparePoll.
func (t *task) handleConns(now time.Time) {
	open := t.conns[:0]
	for i, c := range t.conns {
		if t.fds[slotConns+i].Revents != 0 {
			t.readRequest(now, c)
		}
		if !c.deadline.IsZero() && !now.Before(c.deadline) {
			c.close()
		}
		if c.fd >= 0 {
			open = append(open, c)
		}
	}
	clear(t.conns[len(open):])
	t.conns = open
}

// readRequest reads from a client, and handles its request once it is complete.
// A waiting client sends nothing more: readable data means that it has gone.
func (t *task) readRequest(now time.Time, c *conn) {
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
	line, _, complete := bytes.Cut(c.request, []byte{'\n'})
	if !complete {
		return
	}
	c.deadline = time.Time{}
	var req Request
	if err := json.Unmarshal(line, &req); err != nil {
		c.finish(Response{Error: "decode the request: " + err.Error()})
		return
	}
	t.handleRequest(now, c, req)
}

// handleRequest carries out a request. It answers all but those that wait for
// the guest's end.
func (t *task) handleRequest(now time.Time, c *conn, req Request) {
	if !knows(req.Version) {
		c.finish(Response{Error: fmt.Sprintf("request of protocol version %d: this executor supports versions %d to %d",
			req.Version, MinVersion, Version)})
		return
	}
	c.version = req.Version
	switch req.Op {
	case OpState:
		state := t.state()
		c.finish(Response{State: &state})
	case OpSignal:
		var r Response
		if err := t.signal("signal", syscall.Signal(req.Signal)); err != nil {
			r.Error = err.Error()
		}
		c.finish(r)
	case OpStop:
		t.stop(now, syscall.Signal(req.Signal), time.Duration(req.TimeoutMS)*time.Millisecond)
		c.waiting = true
	case OpWait:
		if t.waitingClients() >= maxWaiting {
			c.finish(Response{Error: fmt.Sprintf("%d clients are already waiting for the task", maxWaiting)})
			return
		}
		c.waiting = true
	default:
		c.finish(Response{Error: fmt.Sprintf("unknown operation %q", req.Op)})
	}
}

// respond sends a response. Responses fit into the socket's buffer, so sending
// fails only if the client has gone.
func (c *conn) respond(r Response) {
	r.Version = c.version
	_ = writeResponse(c.fd, r)
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

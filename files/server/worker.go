// SPDX-License-Identifier: MPL-2.0

package server

import (
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/files"
	"github.com/lkl-nomad/nomad-driver-lkl/files/fuse"
)

// A worker serves one request at a time. Its fields are buffers that all requests reuse, so
// that a request allocates no memory.
type worker struct {
	server *Server
	number uint64

	in     []byte
	out    []byte // the header of the answer, and its body of length n
	n      int
	header fuse.InHeader
	body   []byte // of the request
	node   *node  // of the request
	attr   unix.Statx_t
	path   [16]byte
	dents  []byte
	from   fileRange
	to     fileRange
	times  [2]unix.Timespec
	vector unix.Iovec
	statfs unix.Statfs_t
	// capabilities are those that the thread keeps in reserve.
	capabilities capabilities
}

func newWorker(s *Server, number uint64) *worker {
	return &worker{
		server: s, number: number,
		in: make([]byte, files.MaxPacket), out: make([]byte, fuse.OutHeaderSize+files.MaxWrite),
		dents: make([]byte, 8192),
	}
}

// run serves requests until the socket ends.
func (w *worker) run() {
	s := w.server
	if err := w.capabilities.reserve(); err != nil {
		w.fail(err)
		return
	}
	for s.turn.acquire(w.number) {
		n, errno := s.poll.receive(s.config.Socket, w.in)
		if errno == unix.ECONNRESET || errno == 0 && n == 0 {
			s.turn.end()
			return
		}
		if errno != 0 {
			w.fail(fmt.Errorf("receive a request: %w", errno))
			return
		}
		s.turn.begin()
		errno = w.serve(n)
		s.turn.finish(w.number)
		if errno == unix.EPIPE || errno == unix.ECONNRESET {
			s.turn.end()
			return
		}
		if errno != 0 {
			w.fail(fmt.Errorf("send an answer: %w", errno))
			return
		}
	}
}

func (w *worker) fail(err error) {
	w.server.failure.CompareAndSwap(nil, &err)
	w.server.turn.end()
	_ = unix.Shutdown(w.server.config.Socket, unix.SHUT_RDWR) // wakes the worker that receives
}

// serve serves the request in the first n bytes of w.in. It returns the errno of the answer's
// transmission.
func (w *worker) serve(n int) unix.Errno {
	header, body := fuse.View[fuse.InHeader](w.in[:min(n, len(w.in))])
	if header == nil {
		return 0 // without a header there is no request to answer
	}
	w.header, w.body, w.n = *header, body, 0
	errno := unix.EINVAL
	operation := operationOf(w.header.Opcode)
	if int(w.header.Len) == n && n <= len(w.in) {
		errno = w.do(operation)
	}
	if operation.silent || w.header.Unique == 0 {
		return 0 // the guest would take an answer without a unique number for a notification
	}
	if errno != 0 {
		w.n = 0
	}
	answer, _ := fuse.View[fuse.OutHeader](w.out)
	*answer = fuse.OutHeader{
		Len: uint32(fuse.OutHeaderSize + w.n), Error: -int32(errno), Unique: w.header.Unique,
	}
	return send(w.server.config.Socket, w.out[:answer.Len])
}

// do runs an operation on its node.
func (w *worker) do(operation *operation) unix.Errno {
	if operation.on == onConnection {
		return operation.run(w)
	}
	node, errno := w.server.nodes.get(w.header.NodeID)
	if errno != 0 {
		return errno
	}
	defer w.server.nodes.put(node)
	if operation.on == onFile && node.fd < 0 {
		return unix.EROFS // the root directory is not one of the host
	}
	if operation.changes && w.server.shares[node.share].readOnly {
		return unix.EROFS
	}
	w.node = node
	if operation.slow {
		w.pass()
	}
	return operation.run(w)
}

// pass lets another worker receive requests, because this one is busy for long.
func (w *worker) pass() { w.server.turn.pass(w.number) }

// reply appends a message of zeros to the answer, for the caller to fill.
func reply[T fuse.Message](w *worker) *T {
	message, rest := fuse.View[T](w.out[fuse.OutHeaderSize+w.n:])
	var zero T
	*message = zero
	w.n = len(w.out) - fuse.OutHeaderSize - len(rest)
	return message
}

// space returns the rest of the answer's body, at most size bytes.
func (w *worker) space(size uint32) []byte {
	b := w.out[fuse.OutHeaderSize+w.n:]
	return b[:min(int(size), len(b))]
}

// name cuts the name of a file from the request's body.
func (w *worker) name() (*byte, unix.Errno) {
	name, rest := fuse.CutString(w.body)
	if errno := fuse.CheckName(name); errno != 0 {
		return nil, errno
	}
	w.body = rest
	return &name[0], 0
}

// pathOf returns the name of a descriptor below /proc/self/fd.
func (w *worker) pathOf(fd int) *byte {
	path := strconv.AppendInt(w.path[:0], int64(fd), 10)
	w.path[len(path)] = 0
	return &w.path[0]
}

// open opens the file of a node, which must be a regular file or a directory.
func (w *worker) open(n *node, flags int) (int, unix.Errno) {
	switch n.mode {
	case unix.S_IFREG, unix.S_IFDIR:
		if flags&(unix.O_ACCMODE|unix.O_TRUNC) != unix.O_RDONLY && w.server.shares[n.share].readOnly {
			return -1, unix.EROFS
		}
		return openat(w.server.config.ProcSelfFD, w.pathOf(int(n.fd)), flags, 0)
	case unix.S_IFLNK:
		return -1, unix.ELOOP
	default:
		// The guest opens its own FIFOs, sockets and devices.
		return -1, unix.EACCES
	}
}

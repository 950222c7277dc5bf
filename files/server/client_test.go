// SPDX-License-Identifier: MPL-2.0

package server_test

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"unsafe"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/files"
	"github.com/lkl-nomad/nomad-driver-lkl/files/fuse"
	"github.com/lkl-nomad/nomad-driver-lkl/files/server"
)

// A client is a guest that sends raw messages.
type client struct {
	t      testing.TB
	socket int
	unique uint64
	uid    uint32
	gid    uint32
	buffer []byte
}

// options change the configuration of a server.
type option func(*server.Config)

// serve starts a server for shares of the host, and returns its guest's end of the socket. The
// server ends with the test.
func serve(t testing.TB, shares []string, options ...option) int {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	must.NoError(t, err)
	for _, fd := range pair {
		must.NoError(t, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 1<<20))
	}
	config := server.Config{Socket: pair[1], Nodes: 400, Handles: 100}
	config.Plan.UID, config.Plan.GID = uint32(os.Getuid()), uint32(os.Getgid())
	for _, path := range shares {
		fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
		must.NoError(t, err)
		config.Shares = append(config.Shares, fd)
		config.Plan.Shares = append(config.Plan.Shares, files.Share{})
	}
	for _, option := range options {
		option(&config)
	}
	if program := os.Getenv(jailEnv); program != "" {
		serveInJail(t, program, config)
		t.Cleanup(func() { must.NoError(t, unix.Close(pair[0])) })
		return pair[0]
	}
	config.ProcSelfFD, err = unix.Open("/proc/self/fd", unix.O_PATH|unix.O_CLOEXEC, 0)
	must.NoError(t, err)
	s, err := server.New(config)
	must.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- s.Serve() }()
	t.Cleanup(func() {
		_ = unix.Shutdown(pair[0], unix.SHUT_RDWR)
		must.NoError(t, <-served)
		for _, fd := range append(config.Shares, pair[0], pair[1], config.ProcSelfFD) {
			must.NoError(t, unix.Close(fd))
		}
	})
	return pair[0]
}

// connect starts a server and returns its initialized client.
func connect(t testing.TB, shares []string, options ...option) *client {
	t.Helper()
	return newClient(t, serve(t, shares, options...))
}

// newClient returns the initialized client of a server.
func newClient(t testing.TB, socket int) *client {
	t.Helper()
	c := &client{
		t: t, socket: socket, buffer: make([]byte, files.MaxPacket),
		uid: uint32(os.Getuid()), gid: uint32(os.Getgid()),
	}
	out, errno := c.call(fuse.Init, 0, &fuse.InitIn{Major: 7, Minor: 37, MaxReadahead: 1 << 20, Flags: ^uint32(0)})
	must.Zero(t, errno)
	init, _ := fuse.View[fuse.InitOut](out)
	must.NotNil(t, init)
	must.Eq(t, 7, init.Major)
	must.Eq(t, files.MaxWrite, init.MaxWrite)
	return c
}

// part returns the bytes of a message or of a string, which gets a NUL.
func part(message any) []byte {
	switch m := message.(type) {
	case string:
		return append([]byte(m), 0)
	case []byte:
		return m
	case *fuse.InHeader:
		return encode(m)
	case *fuse.InitIn:
		return encode(m)
	case *fuse.ForgetIn:
		return encode(m)
	case *fuse.BatchForgetIn:
		return encode(m)
	case *fuse.ForgetOne:
		return encode(m)
	case *fuse.GetattrIn:
		return encode(m)
	case *fuse.SetattrIn:
		return encode(m)
	case *fuse.MknodIn:
		return encode(m)
	case *fuse.MkdirIn:
		return encode(m)
	case *fuse.RenameIn:
		return encode(m)
	case *fuse.Rename2In:
		return encode(m)
	case *fuse.LinkIn:
		return encode(m)
	case *fuse.OpenIn:
		return encode(m)
	case *fuse.CreateIn:
		return encode(m)
	case *fuse.ReleaseIn:
		return encode(m)
	case *fuse.ReadIn:
		return encode(m)
	case *fuse.WriteIn:
		return encode(m)
	case *fuse.FsyncIn:
		return encode(m)
	case *fuse.SetxattrIn:
		return encode(m)
	case *fuse.GetxattrIn:
		return encode(m)
	case *fuse.FallocateIn:
		return encode(m)
	case *fuse.LseekIn:
		return encode(m)
	case *fuse.CopyFileRangeIn:
		return encode(m)
	default:
		panic("unknown message") //nolint:forbidigo // a mistake in a test
	}
}

func encode[T fuse.Message](message *T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(message)), unsafe.Sizeof(*message))
}

// send sends a request.
func (c *client) send(opcode fuse.Opcode, node uint64, parts ...any) {
	c.t.Helper()
	c.unique += 2
	var body []byte
	for _, p := range parts {
		body = append(body, part(p)...)
	}
	header := fuse.InHeader{
		Len: uint32(fuse.InHeaderSize + len(body)), Opcode: opcode, Unique: c.unique, NodeID: node,
		UID: c.uid, GID: c.gid, PID: 1,
	}
	c.raw(append(part(&header), body...))
}

func (c *client) raw(packet []byte) {
	c.t.Helper()
	must.NoError(c.t, unix.Send(c.socket, packet, unix.MSG_NOSIGNAL))
}

// receive returns the header and the body of an answer.
func (c *client) receive() (fuse.OutHeader, []byte) {
	c.t.Helper()
	n, _, err := unix.Recvfrom(c.socket, c.buffer, 0)
	must.NoError(c.t, err)
	header, body := fuse.View[fuse.OutHeader](c.buffer[:n])
	must.NotNil(c.t, header)
	must.Eq(c.t, n, int(header.Len))
	return *header, body
}

// call sends a request and returns the body of its answer.
func (c *client) call(opcode fuse.Opcode, node uint64, parts ...any) ([]byte, unix.Errno) {
	c.t.Helper()
	c.send(opcode, node, parts...)
	header, body := c.receive()
	must.Eq(c.t, c.unique, header.Unique)
	// Another request reuses the buffer, but alignment must be kept.
	return append(make([]byte, 0, len(body)+8), body...), unix.Errno(-header.Error)
}

func (c *client) lookup(node uint64, name string) (fuse.EntryOut, unix.Errno) {
	c.t.Helper()
	out, errno := c.call(fuse.Lookup, node, name)
	if errno != 0 {
		return fuse.EntryOut{}, errno
	}
	entry, _ := fuse.View[fuse.EntryOut](out)
	must.NotNil(c.t, entry)
	return *entry, 0
}

// walk looks up names one after the other from the root directory on.
func (c *client) walk(names ...string) uint64 {
	c.t.Helper()
	node := uint64(fuse.RootID)
	for _, name := range names {
		entry, errno := c.lookup(node, name)
		must.Zero(c.t, errno, must.Sprint(name))
		node = entry.NodeID
	}
	return node
}

func (c *client) open(opcode fuse.Opcode, node uint64, flags uint32) (uint64, unix.Errno) {
	c.t.Helper()
	out, errno := c.call(opcode, node, &fuse.OpenIn{Flags: flags})
	if errno != 0 {
		return 0, errno
	}
	opened, _ := fuse.View[fuse.OpenOut](out)
	must.NotNil(c.t, opened)
	return opened.FH, 0
}

// list reads a directory with requests of a size.
func (c *client) list(node uint64, size uint32) (names []string) {
	c.t.Helper()
	fh, errno := c.open(fuse.Opendir, node, 0)
	must.Zero(c.t, errno)
	for offset := uint64(0); ; {
		out, errno := c.call(fuse.Readdir, node, &fuse.ReadIn{FH: fh, Offset: offset, Size: size})
		must.Zero(c.t, errno)
		if len(out) == 0 {
			break
		}
		must.LessEq(c.t, int(size), len(out))
		for len(out) > 0 {
			entry, rest := fuse.View[fuse.Dirent](out)
			names = append(names, string(rest[:entry.Namelen]))
			offset = entry.Off
			out = out[fuse.Align(fuse.DirentSize+int(entry.Namelen)):]
		}
	}
	_, errno = c.call(fuse.Releasedir, node, &fuse.ReleaseIn{FH: fh})
	must.Zero(c.t, errno)
	return names
}

// write makes a file of the host.
func write(t testing.TB, content string, path ...string) string {
	t.Helper()
	name := filepath.Join(path...)
	must.NoError(t, os.WriteFile(name, []byte(content), 0o644))
	return name
}

// openFDs counts the descriptors of this process.
func openFDs(t testing.TB) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	must.NoError(t, err)
	return len(entries)
}

func numbered(prefix string, i int) string { return prefix + strconv.Itoa(i) }

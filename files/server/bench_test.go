// SPDX-License-Identifier: MPL-2.0

package server_test

import (
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/files"
	"github.com/lkl-nomad/nomad-driver-lkl/files/fuse"
)

// A caller sends prepared requests without an allocation.
type caller struct {
	b      *testing.B
	socket int
	polls  bool
	out    []byte
}

func (c *caller) send(packet []byte) {
	_, _, errno := unix.Syscall6(unix.SYS_SENDTO, uintptr(c.socket), uintptr(unsafe.Pointer(&packet[0])),
		uintptr(len(packet)), unix.MSG_NOSIGNAL, 0, 0)
	if errno != 0 {
		c.b.Fatal(errno)
	}
}

// call sends a request and returns the body of its answer.
func (c *caller) call(packet []byte) []byte {
	c.send(packet)
	flags := uintptr(0)
	if c.polls {
		flags = unix.MSG_DONTWAIT
	}
	for {
		n, _, errno := unix.Syscall6(unix.SYS_RECVFROM, uintptr(c.socket), uintptr(unsafe.Pointer(&c.out[0])), uintptr(len(c.out)), flags, 0, 0)
		if errno == unix.EAGAIN || errno == unix.EINTR {
			continue
		}
		header, body := fuse.View[fuse.OutHeader](c.out[:n])
		if errno != 0 || header == nil || header.Error != 0 {
			c.b.Fatal(errno, header)
		}
		return body
	}
}

func request(opcode fuse.Opcode, node uint64, parts ...any) []byte {
	var body []byte
	for _, p := range parts {
		body = append(body, part(p)...)
	}
	header := fuse.InHeader{Len: uint32(fuse.InHeaderSize + len(body)), Opcode: opcode, Unique: 2, NodeID: node}
	return append(part(&header), body...)
}

func nodeOf(packet []byte) *uint64 { return (*uint64)(unsafe.Pointer(&packet[16])) }

func handleOf(packet []byte) *uint64 { return (*uint64)(unsafe.Pointer(&packet[fuse.InHeaderSize])) }

func newCaller(b *testing.B, c *client, polls bool) *caller {
	runtime.LockOSThread()
	b.Cleanup(runtime.UnlockOSThread)
	return &caller{b: b, socket: c.socket, polls: polls, out: make([]byte, files.MaxPacket)}
}

// BenchmarkServe_OpenReadClose measures the requests of a guest that opens, reads and closes
// a file of 4 KiB.
func BenchmarkServe_OpenReadClose(b *testing.B) {
	for name, polls := range map[string]bool{"sleeping": false, "polling": true} {
		b.Run(name, func(b *testing.B) {
			dir := b.TempDir()
			write(b, strings.Repeat("x", 4096), dir, "file")
			client := connect(b, []string{dir})
			root := client.walk("0")
			lookup := request(fuse.Lookup, root, "file")
			open := request(fuse.Open, 0, &fuse.OpenIn{})
			read := request(fuse.Read, 0, &fuse.ReadIn{Size: 4096})
			release := request(fuse.Release, 0, &fuse.ReleaseIn{})
			forget := request(fuse.Forget, 0, &fuse.ForgetIn{Nlookup: 1})
			c := newCaller(b, client, polls)
			b.ReportAllocs()
			for b.Loop() {
				entry, _ := fuse.View[fuse.EntryOut](c.call(lookup))
				node := entry.NodeID
				*nodeOf(open), *nodeOf(read), *nodeOf(release), *nodeOf(forget) = node, node, node, node
				opened, _ := fuse.View[fuse.OpenOut](c.call(open))
				*handleOf(read), *handleOf(release) = opened.FH, opened.FH
				if len(c.call(read)) != 4096 {
					b.Fatal("short read")
				}
				c.call(release)
				c.send(forget)
			}
		})
	}
}

func BenchmarkServe_Getattr(b *testing.B) {
	for name, polls := range map[string]bool{"sleeping": false, "polling": true} {
		b.Run(name, func(b *testing.B) {
			client := connect(b, []string{b.TempDir()})
			getattr := request(fuse.Getattr, client.walk("0"), &fuse.GetattrIn{})
			c := newCaller(b, client, polls)
			b.ReportAllocs()
			for b.Loop() {
				c.call(getattr)
			}
		})
	}
}

// BenchmarkServe_Read measures one request at a time of 64 KiB from the host's page cache.
func BenchmarkServe_Read(b *testing.B) {
	dir := b.TempDir()
	write(b, strings.Repeat("x", 1<<20), dir, "file")
	client := connect(b, []string{dir})
	node := client.walk("0", "file")
	fh, _ := client.open(fuse.Open, node, 0)
	read := request(fuse.Read, node, &fuse.ReadIn{FH: fh, Size: files.MaxWrite})
	c := newCaller(b, client, true)
	b.SetBytes(files.MaxWrite)
	b.ReportAllocs()
	for b.Loop() {
		c.call(read)
	}
}

// BenchmarkServe_Write measures one request at a time of 64 KiB to the host's page cache.
func BenchmarkServe_Write(b *testing.B) {
	dir := b.TempDir()
	write(b, "", dir, "file")
	client := connect(b, []string{dir})
	node := client.walk("0", "file")
	fh, _ := client.open(fuse.Open, node, unix.O_WRONLY)
	data := make([]byte, files.MaxWrite)
	packet := request(fuse.Write, node, &fuse.WriteIn{FH: fh, Size: files.MaxWrite}, data)
	c := newCaller(b, client, true)
	b.SetBytes(files.MaxWrite)
	b.ReportAllocs()
	for b.Loop() {
		c.call(packet)
	}
}

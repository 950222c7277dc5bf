// SPDX-License-Identifier: MPL-2.0

package lkl

import (
	"bytes"
	"encoding/binary"
	"os"
	"strings"
	"testing"

	"github.com/shoenig/test"
	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/files/fuse"
)

// frame encodes an answer. header.Len is set unless it is not zero.
func frame(header fuse.OutHeader, body any) []byte {
	var b bytes.Buffer
	if body != nil {
		_ = binary.Write(&b, binary.LittleEndian, body)
	}
	if header.Len == 0 {
		header.Len = uint32(16 + b.Len())
	}
	var whole bytes.Buffer
	_ = binary.Write(&whole, binary.LittleEndian, header)
	return append(whole.Bytes(), b.Bytes()...)
}

// entry describes a file that a lookup found.
func entry(node uint64, mode uint32, size uint64) fuse.EntryOut {
	return fuse.EntryOut{NodeID: node, AttrValid: 60, Attr: fuse.Attr{Ino: node, Mode: mode, Nlink: 1, Size: size, Blksize: 4096}}
}

// serveHostile answers the requests of a mount well, and the lookup of the name "x" with
// the bytes that hostile returns. Its directory is writable by all.
func serveHostile(host *os.File, hostile func(unique uint64) []byte) {
	buffer := make([]byte, 1<<17)
	for {
		n, err := unix.Read(int(host.Fd()), buffer)
		if err != nil || n < 40 {
			return
		}
		opcode := fuse.Opcode(binary.LittleEndian.Uint32(buffer[4:]))
		unique := binary.LittleEndian.Uint64(buffer[8:])
		var answer []byte
		switch {
		case opcode == fuse.Forget || opcode == fuse.BatchForget:
			continue
		case opcode == fuse.Init:
			answer = frame(fuse.OutHeader{Unique: unique}, fuse.InitOut{
				Major: 7, Minor: 33, MaxReadahead: 1 << 20, Flags: fuse.MaxPages, MaxBackground: 16, MaxWrite: 1 << 16, MaxPages: 16,
			})
		case opcode == fuse.Lookup && string(buffer[40:n]) == "x\x00":
			answer = hostile(unique)
		case opcode == fuse.Lookup:
			answer = frame(fuse.OutHeader{Unique: unique}, entry(2, unix.S_IFDIR|0o777, 0))
		case opcode == fuse.Getattr:
			answer = frame(fuse.OutHeader{Unique: unique}, fuse.AttrOut{AttrValid: 60, Attr: entry(1, unix.S_IFDIR|0o777, 0).Attr})
		default:
			answer = frame(fuse.OutHeader{Unique: unique, Error: -int32(unix.ENOSYS)}, nil)
		}
		if _, err := unix.Write(int(host.Fd()), answer); err != nil {
			return
		}
	}
}

// An answer that violates the protocol fails with EIO in the program. It neither crashes nor
// stops the guest.
func TestLive_HostileAnswersFailWithEIO(t *testing.T) {
	good := entry(3, unix.S_IFREG|0o644, 4)
	for name, hostile := range map[string]func(unique uint64) []byte{
		"empty frame":    func(uint64) []byte { return nil },
		"short frame":    func(uint64) []byte { return []byte("short") },
		"short body":     func(u uint64) []byte { return frame(fuse.OutHeader{Unique: u}, uint64(3)) },
		"long body":      func(u uint64) []byte { return frame(fuse.OutHeader{Unique: u}, [4096]byte{}) },
		"longest frame":  func(u uint64) []byte { return frame(fuse.OutHeader{Unique: u}, [100000]byte{}) },
		"length 0":       func(u uint64) []byte { return frame(fuse.OutHeader{Len: 1, Unique: u}, good) },
		"large length":   func(u uint64) []byte { return frame(fuse.OutHeader{Len: 1 << 31, Unique: u}, good) },
		"other request":  func(u uint64) []byte { return frame(fuse.OutHeader{Unique: u + 2}, good) },
		"notification":   func(uint64) []byte { return frame(fuse.OutHeader{Error: 3}, good) },
		"positive error": func(u uint64) []byte { return frame(fuse.OutHeader{Unique: u, Error: 5}, nil) },
		"huge error":     func(u uint64) []byte { return frame(fuse.OutHeader{Unique: u, Error: -1 << 31}, nil) },
		"error and body": func(u uint64) []byte { return frame(fuse.OutHeader{Unique: u, Error: -2}, good) },
		"no file type":   func(u uint64) []byte { return frame(fuse.OutHeader{Unique: u}, entry(3, 0o644, 4)) },
		"negative size":  func(u uint64) []byte { return frame(fuse.OutHeader{Unique: u}, entry(3, unix.S_IFREG, 1<<63)) },
		"root directory": func(u uint64) []byte { return frame(fuse.OutHeader{Unique: u}, entry(1, unix.S_IFDIR|0o777, 0)) },
	} {
		t.Run(name, func(t *testing.T) {
			guest, host := packetPair(t)
			done := make(chan struct{})
			go func() { serveHostile(host, hostile); close(done) }()
			t.Cleanup(func() {
				_ = unix.Shutdown(int(host.Fd()), unix.SHUT_RDWR)
				<-done
				_ = host.Close()
			})
			s := liveGuest(t, guest, []share{{path: "/live"}}, strings.Fields("cat /live/x cat /live/x write /tmp/ok y")...)
			g := startGuest(t, s)
			must.NoError(t, guest.Close())
			lines, status := g.waitExit(t)
			test.SliceContains(t, lines, "read: I/O error")
			test.Eq(t, "write: 1", lastLine(lines))
			test.Eq(t, 0, status)
		})
	}
}

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

// serveFrames answers the requests of a mount well, except those for which special returns
// true. Its directory is writable by all.
func serveFrames(host *os.File, special func(opcode fuse.Opcode, unique uint64, request []byte) (answer []byte, ok bool)) {
	buffer := make([]byte, 1<<17)
	for {
		n, err := unix.Read(int(host.Fd()), buffer)
		if err != nil || n < 40 {
			return
		}
		opcode := fuse.Opcode(binary.LittleEndian.Uint32(buffer[4:]))
		unique := binary.LittleEndian.Uint64(buffer[8:])
		answer, ok := special(opcode, unique, buffer[:n])
		switch {
		case ok:
		case opcode == fuse.Forget || opcode == fuse.BatchForget:
			continue
		case opcode == fuse.Init:
			answer = frame(fuse.OutHeader{Unique: unique}, fuse.InitOut{
				Major: 7, Minor: 33, MaxReadahead: 1 << 20, Flags: fuse.MaxPages, MaxBackground: 16, MaxWrite: 1 << 16, MaxPages: 16,
			})
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

// runWithFrames runs a guest whose live directory serveFrames serves.
func runWithFrames(t *testing.T, special func(fuse.Opcode, uint64, []byte) ([]byte, bool), words ...string) ([]string, int) {
	t.Helper()
	guest, host := packetPair(t)
	done := make(chan struct{})
	go func() { serveFrames(host, special); close(done) }()
	t.Cleanup(func() {
		_ = unix.Shutdown(int(host.Fd()), unix.SHUT_RDWR)
		<-done
		_ = host.Close()
	})
	g := startGuest(t, liveGuest(t, guest, []share{{path: "/live"}}, words...))
	must.NoError(t, guest.Close())
	return g.waitExit(t)
}

// isLookupOfX reports whether a request looks up the name "x".
func isLookupOfX(opcode fuse.Opcode, request []byte) bool {
	return opcode == fuse.Lookup && string(request[40:]) == "x\x00"
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
			lookup := func(opcode fuse.Opcode, unique uint64, request []byte) ([]byte, bool) {
				if isLookupOfX(opcode, request) {
					return hostile(unique), true
				}
				return nil, false
			}
			lines, status := runWithFrames(t, lookup, strings.Fields("cat /live/x cat /live/x write /tmp/ok y")...)
			test.SliceContains(t, lines, "read: I/O error")
			test.Eq(t, "write: 1", lastLine(lines))
			test.Eq(t, 0, status)
		})
	}
}

// failReads serves the file "x". Those reads of it whose numbers, from 1 on, are between
// first and last fail. The others contain their number.
func failReads(first, last int) func(fuse.Opcode, uint64, []byte) ([]byte, bool) {
	file := entry(3, unix.S_IFREG|0o666, 4096)
	reads := 0
	return func(opcode fuse.Opcode, unique uint64, request []byte) ([]byte, bool) {
		header := fuse.OutHeader{Unique: unique}
		switch {
		case isLookupOfX(opcode, request):
			return frame(header, file), true
		case opcode == fuse.Getattr && binary.LittleEndian.Uint64(request[16:]) == file.NodeID:
			return frame(header, fuse.AttrOut{AttrValid: 60, Attr: file.Attr}), true
		case opcode == fuse.Fallocate:
			return frame(header, nil), true
		case opcode == fuse.Read:
			reads++
			if first <= reads && reads <= last {
				header.Error = -int32(unix.EIO)
				return frame(header, nil), true
			}
			return frame(header, [4096]byte{'0' + byte(reads)}), true
		}
		return nil, false
	}
}

// The file server fails to read a mapped page again in which it has punched a hole. A store
// to the page cannot be written then.
func TestLive_ReportsLostChangesOfMappedFile(t *testing.T) {
	lines, status := runWithFrames(t, failReads(2, 1000), "mappunch", "/live/x")
	test.Eq(t, 0, status)
	test.Eq(t, []string{
		"lkl: cannot read a page of a mapped file: -5", "punch: 0", "fsync: I/O error",
		"lkl: changes of a mapped file are lost: error -5", "munmap: 0",
	}, lines)
}

// Each attempt reads twice.
func TestLive_ReadsMappedPageAgainAfterError(t *testing.T) {
	lines, status := runWithFrames(t, failReads(2, 3), "mapagain", "/live/x")
	test.Eq(t, 0, status)
	test.Eq(t, []string{"mapped: 1", "lkl: cannot read a page of a mapped file: -5", "punch: 0", "mapped: 4"}, lines)
}

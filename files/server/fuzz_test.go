// SPDX-License-Identifier: MPL-2.0

package server_test

import (
	"encoding/binary"
	"math"
	"os"
	"os/signal"
	"path/filepath"
	"testing"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/files/fuse"
)

// FuzzServe sends sequences of messages, which must not reach a file outside of the share.
func FuzzServe(f *testing.F) {
	for _, seed := range fuzzSeeds() {
		f.Add(seed)
	}
	// The fuzzer itself needs a file of 100 MiB.
	signal.Ignore(unix.SIGXFSZ)
	must.NoError(f, unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 128 << 20, Max: math.MaxUint64}))
	f.Fuzz(func(t *testing.T, input []byte) {
		base, err := os.MkdirTemp("", "fuzz")
		must.NoError(t, err)
		defer func() { must.NoError(t, os.RemoveAll(base)) }()
		shared, outside := filepath.Join(base, "shared"), filepath.Join(base, "outside")
		must.NoError(t, os.MkdirAll(filepath.Join(shared, "d", "e"), 0o755))
		must.NoError(t, os.Mkdir(outside, 0o755))
		write(t, "secret", outside, "secret")
		write(t, "content", shared, "a")
		must.NoError(t, os.Symlink("../outside", filepath.Join(shared, "out")))
		must.NoError(t, os.Symlink("../../outside/secret", filepath.Join(shared, "d", "secret")))
		must.NoError(t, unix.Mkfifo(filepath.Join(shared, "fifo"), 0o600))
		g := &fuzzGuest{client: connect(t, []string{shared}), ids: []uint64{0, fuse.RootID, math.MaxUint64}}
		for range 64 {
			if input = g.step(input); len(input) == 0 {
				break
			}
		}
		mustBeUntouched(t, outside)
	})
}

// A fuzzGuest sends messages that the fuzzer chooses.
type fuzzGuest struct {
	*client
	ids []uint64 // nodes and handles that the server has answered with
}

// A step of the input is an opcode, the index of a node, the indexes of two ids that replace
// words of the body, their places, the length of the body, and the body.
const fuzzStep = 7

// step sends a message and returns the rest of the input.
func (g *fuzzGuest) step(input []byte) []byte {
	if len(input) < fuzzStep {
		return nil
	}
	opcode := fuse.Opcode(input[0])
	length := min(int(input[6]), len(input)-fuzzStep)
	body, rest := input[fuzzStep:fuzzStep+length], input[fuzzStep+length:]
	body = append([]byte(nil), body...)
	for i := range 2 {
		place := int(input[3+2*i]) * 8
		if place+8 <= len(body) {
			binary.NativeEndian.PutUint64(body[place:], g.id(input[2+2*i]))
		}
	}
	if opcode == 255 {
		g.rawStep(body)
		return rest
	}
	g.send(opcode, g.id(input[1]), body)
	switch opcode {
	case fuse.Forget, fuse.BatchForget, fuse.Interrupt:
		return rest
	}
	answer, out := g.receive()
	must.Eq(g.t, g.unique, answer.Unique)
	must.LessEq(g.t, 0, answer.Error)
	must.Greater(g.t, -512, answer.Error)
	g.learn(opcode, out)
	return rest
}

func (g *fuzzGuest) id(index byte) uint64 { return g.ids[int(index)%len(g.ids)] }

// rawStep sends a packet with a header of the fuzzer.
func (g *fuzzGuest) rawStep(packet []byte) {
	if len(packet) == 0 {
		return // would end the connection
	}
	g.raw(packet)
	if len(packet) < fuse.InHeaderSize {
		return
	}
	opcode := fuse.Opcode(binary.NativeEndian.Uint32(packet[4:]))
	silent := opcode == fuse.Forget || opcode == fuse.BatchForget || opcode == fuse.Interrupt
	if unique := binary.NativeEndian.Uint64(packet[8:]); unique != 0 && !silent {
		answer, _ := g.receive()
		must.Eq(g.t, unique, answer.Unique)
	}
}

// learn remembers the nodes and handles in an answer.
func (g *fuzzGuest) learn(opcode fuse.Opcode, out []byte) {
	switch opcode {
	case fuse.Lookup, fuse.Mkdir, fuse.Mknod, fuse.Symlink, fuse.Link, fuse.Open, fuse.Opendir, fuse.Create:
		if len(out) >= 8 {
			g.ids = append(g.ids, binary.NativeEndian.Uint64(out))
		}
		if created, _ := fuse.View[fuse.CreateOut](out); created != nil {
			g.ids = append(g.ids, created.Open.FH)
		}
	}
}

// fuzzSeeds are inputs that use every kind of file.
func fuzzSeeds() [][]byte {
	const none = 255
	step := func(opcode fuse.Opcode, node, id, place byte, parts ...any) []byte {
		var body []byte
		for _, p := range parts {
			body = append(body, part(p)...)
		}
		return append([]byte{byte(opcode), node, id, place, 0, none, byte(len(body))}, body...)
	}
	const share, next, after = 3, 4, 5
	start := step(fuse.Lookup, 1, 0, none, "0")
	sequence := func(steps ...[]byte) []byte {
		all := start
		for _, s := range steps {
			all = append(all[:len(all):len(all)], s...)
		}
		return all
	}
	return [][]byte{
		sequence(step(fuse.Lookup, share, 0, none, "a"), step(fuse.Open, next, 0, none, &fuse.OpenIn{Flags: unix.O_RDWR}),
			step(fuse.Read, next, after, 0, &fuse.ReadIn{Size: 100}), step(fuse.Write, next, after, 0, &fuse.WriteIn{Size: 4}, "data"),
			step(fuse.Fsync, next, after, 0, &fuse.FsyncIn{}), step(fuse.Fallocate, next, after, 0, &fuse.FallocateIn{Length: 100}),
			step(fuse.Lseek, next, after, 0, &fuse.LseekIn{Whence: 3}), step(fuse.Release, next, after, 0, &fuse.ReleaseIn{}),
			step(fuse.Forget, next, 0, none, &fuse.ForgetIn{Nlookup: 1})),
		sequence(step(fuse.Opendir, share, 0, none, &fuse.OpenIn{}), step(fuse.Readdir, share, next, 0, &fuse.ReadIn{Size: 4096}),
			step(fuse.Releasedir, share, next, 0, &fuse.ReleaseIn{})),
		sequence(step(fuse.Create, share, 0, none, &fuse.CreateIn{Flags: unix.O_RDWR, Mode: 0o644}, "new"),
			step(fuse.Setattr, next, 0, none, &fuse.SetattrIn{Valid: 0x1f, Mode: 0o600, Size: 5}),
			step(fuse.Setxattr, next, 0, none, &fuse.SetxattrIn{Size: 1}, "user.x", "v"), step(fuse.Listxattr, next, 0, none, &fuse.GetxattrIn{Size: 100}),
			step(fuse.Rename, share, share, 0, &fuse.RenameIn{}, "new", "../outside/new"), step(fuse.Link, share, next, 0, &fuse.LinkIn{}, "hard")),
		sequence(step(fuse.Lookup, share, 0, none, "out"), step(fuse.Lookup, next, 0, none, "secret"), step(fuse.Readlink, next, 0, none),
			step(fuse.Open, next, 0, none, &fuse.OpenIn{Flags: unix.O_RDWR}), step(fuse.Create, share, 0, none, &fuse.CreateIn{Flags: unix.O_RDWR}, "out")),
		sequence(step(fuse.Mkdir, share, 0, none, &fuse.MkdirIn{Mode: 0o755}, "new"), step(fuse.Symlink, next, 0, none, "s", "../../outside/secret"),
			step(fuse.Rename2, share, next, 0, &fuse.Rename2In{Flags: 2}, "a", "s"), step(fuse.Mknod, next, 0, none, &fuse.MknodIn{Mode: unix.S_IFIFO}, "p")),
		step(255, 0, 0, none, &fuse.InHeader{Len: 40, Opcode: fuse.Getattr, Unique: 1, NodeID: 1}),
	}
}

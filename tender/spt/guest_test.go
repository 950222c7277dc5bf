// SPDX-License-Identifier: MPL-2.0

//go:build linux && amd64

package spt

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/tender"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel/solo5elf"
)

// The addresses of a test guest.
const (
	textBase   = 0x100000
	rodataBase = 0x102000
	dataBase   = 0x104000
	testMemory = 4 << 20
)

// asm is the machine code of a test guest.
type asm []byte

func (a *asm) bytes(b ...byte) { *a = append(*a, b...) }

// set loads a 64-bit register, given as the first two bytes of its movabs.
func (a *asm) set(register [2]byte, value uint64) {
	a.bytes(register[0], register[1])
	*a = binary.LittleEndian.AppendUint64(*a, value)
}

var (
	rax       = [2]byte{0x48, 0xb8}
	arguments = [][2]byte{
		{0x48, 0xbf}, {0x48, 0xbe}, {0x48, 0xba}, {0x49, 0xba}, {0x49, 0xb8}, {0x49, 0xb9},
	}
)

// call makes a system call. Its result is in rax.
func (a *asm) call(number uint64, args ...uint64) {
	for i, value := range args {
		a.set(arguments[i], value)
	}
	a.set(rax, number)
	a.bytes(0x0f, 0x05) // syscall
}

// exitWithResult exits with the low byte of rax.
func (a *asm) exitWithResult() {
	a.bytes(0x89, 0xc7) // mov %eax,%edi
	a.set(rax, unix.SYS_EXIT_GROUP)
	a.bytes(0x0f, 0x05)
}

func (a *asm) exit(code uint64)           { a.call(unix.SYS_EXIT_GROUP, code) }
func (a *asm) write(address, size uint64) { a.call(unix.SYS_WRITE, fdConsole, address, size) }
func (a *asm) loadByte(address uint64)    { a.set(rax, address); a.bytes(0x8a, 0x00) }
func (a *asm) storeByte(address uint64)   { a.set(rax, address); a.bytes(0x88, 0x00) }
func (a *asm) jump(address uint64)        { a.set(rax, address); a.bytes(0xff, 0xe0) }

// idle writes a byte to the console when it runs, and waits forever.
func idle() asm {
	var a asm
	a.write(textBase, 1)
	a.call(unix.SYS_EPOLL_PWAIT, fdEpoll, dataBase, 1, ^uint64(0), 0, 0)
	a.exit(99)
	return a
}

// buildKernel writes a kernel file with these contents of its segments. An empty
// segment is left out.
func buildKernel(t testing.TB, code asm, rodata, data []byte) (*os.File, *unikernel.Info) {
	t.Helper()
	segments := []solo5elf.Program{solo5elf.Load(textBase, elf.PF_R|elf.PF_X, code)}
	if len(rodata) > 0 {
		segments = append(segments, solo5elf.Load(rodataBase, elf.PF_R, rodata))
	}
	if len(data) > 0 {
		segments = append(segments, solo5elf.Load(dataBase, elf.PF_R|elf.PF_W, data))
	}
	abi := solo5elf.ABI{Target: uint32(unikernel.TargetSPT), Version: 2}
	file := solo5elf.New(abi, textBase, nil, segments...).Bytes()
	info, err := unikernel.Read(bytes.NewReader(file), int64(len(file)))
	must.NoError(t, err)
	// The guest must not see the bytes after a segment in the file.
	file = append(file, make([]byte, -len(file)&(pageSize-1))...)
	for _, s := range info.Segments {
		for i := s.Offset + s.FileSize; i%pageSize != 0; i++ {
			file[i] = 0xee
		}
	}
	return openKernel(t, filepath.Join(t.TempDir(), "kernel"), file), info
}

// openKernel writes a file and opens it for reading.
func openKernel(t testing.TB, path string, content []byte) *os.File {
	t.Helper()
	must.NoError(t, os.WriteFile(path, content, 0o600))
	f, err := os.Open(path)
	must.NoError(t, err)
	t.Cleanup(func() { must.NoError(t, f.Close()) })
	return f
}

func guestOf(t *testing.T, code asm) *tender.Guest {
	t.Helper()
	kernel, info := buildKernel(t, code, []byte("constant"), []byte("variable"))
	return &tender.Guest{Kernel: kernel, Info: info, Memory: testMemory}
}

// disk attaches a file of zeros as a disk.
func disk(t *testing.T, g *tender.Guest, d tender.Device) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), d.Name))
	must.NoError(t, err)
	t.Cleanup(func() { must.NoError(t, f.Close()) })
	must.NoError(t, f.Truncate(int64(d.Capacity)))
	d.Type, d.File = unikernel.Block, f
	attachTo(g, d)
	return f
}

// socket attaches one end of a socket pair as a net device and returns the other.
func socket(t *testing.T, g *tender.Guest, name string) *os.File {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	must.NoError(t, err)
	guest, host := os.NewFile(uintptr(pair[0]), "guest"), os.NewFile(uintptr(pair[1]), "host")
	t.Cleanup(func() { must.NoError(t, guest.Close()); must.NoError(t, host.Close()) })
	attachTo(g, tender.Device{
		Name: name, Type: unikernel.Net, File: guest, MAC: [6]byte{2, 0, 0, 0, 0, 1}, MTU: unikernel.MaxMTU,
	})
	return host
}

func attachTo(g *tender.Guest, d tender.Device) {
	g.Devices = append(g.Devices, d)
	g.Info.Manifest = append(g.Info.Manifest, unikernel.Device{Name: d.Name, Type: d.Type})
}

// undeclare removes the last devices from the manifest in the kernel's file, for a guest
// that needs no declarations.
func undeclare(g *tender.Guest, devices int) {
	g.Info.Features |= unikernel.FeatureDevices
	g.Info.Manifest = g.Info.Manifest[:len(g.Info.Manifest)-devices]
}

// start starts a guest and returns the read end of its console.
func start(t *testing.T, g *tender.Guest, j tender.Jail) (*Process, *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	must.NoError(t, err)
	t.Cleanup(func() { _ = r.Close() })
	g.Console = w
	p, err := Start(g, j)
	must.NoError(t, w.Close())
	must.NoError(t, err)
	t.Cleanup(func() {
		if p.Signal(unix.SIGKILL) == nil {
			_, _ = p.Wait()
		}
	})
	return p, r
}

// run runs a guest to its end and returns its output.
func run(t *testing.T, g *tender.Guest) (tender.Exit, []byte) {
	t.Helper()
	p, console := start(t, g, tender.Jail{})
	output, err := io.ReadAll(console)
	must.NoError(t, err)
	exit, err := p.Wait()
	must.NoError(t, err)
	return exit, output
}

// startIdle starts a guest and waits for the first byte of its output.
func startIdle(t *testing.T, g *tender.Guest, j tender.Jail) *Process {
	t.Helper()
	p, console := start(t, g, j)
	_, err := io.ReadFull(console, make([]byte, 1))
	must.NoError(t, err)
	return p
}

// SPDX-License-Identifier: MPL-2.0

//go:build linux && amd64

package lkl

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/disk"
	"github.com/lkl-nomad/nomad-driver-lkl/tender"
	"github.com/lkl-nomad/nomad-driver-lkl/tender/spt"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
)

// tended is a guest for the tender itself, its console a pipe.
func tended(tb testing.TB, kernel, image string, memory uint64, s setup) (g *tender.Guest, console *os.File) {
	tb.Helper()
	file, err := os.Open(kernel)
	must.NoError(tb, err)
	info, err := file.Stat()
	must.NoError(tb, err)
	g = &tender.Guest{Kernel: file, Memory: memory, CommandLine: strings.Join(s.commandLine(tb), " ")}
	g.Image, err = unikernel.Read(file, info.Size())
	must.NoError(tb, err)
	root, err := os.OpenFile(image, os.O_RDWR, 0)
	must.NoError(tb, err)
	info, err = root.Stat()
	must.NoError(tb, err)
	_, cable := pair(tb)
	_, control := pair(tb)
	g.Devices = []tender.Device{
		{Name: "rootfs", Type: unikernel.Block, File: root, Capacity: uint64(info.Size()), BlockSize: 512},
		{Name: "tap", Type: unikernel.Net, File: cable, MTU: 1500, MAC: [6]byte{2, 0, 0, 0, 0, 1}},
		{Name: "control", Type: unikernel.Net, File: control, MTU: 1500, MAC: [6]byte{2, 0, 0, 0, 0, 2}},
	}
	console, theirs, err := os.Pipe()
	must.NoError(tb, err)
	g.Console = theirs
	tb.Cleanup(func() {
		for _, f := range []*os.File{file, root, cable, control, console, theirs} {
			_ = f.Close()
		}
	})
	return g, console
}

// BenchmarkBoot is the time from the tender's start, before it forks, to the
// first line of main: the root is mounted and the network configured by then.
// "native" is the same program as a process of this machine. It tells the
// median and the 99th percentile; ns/op holds the end too.
func BenchmarkBoot(b *testing.B) {
	kernel, image := testenv.Guest(b, "lkl-hello.spt"), image(b, 64, nil)
	for _, memory := range []uint64{12, 64, 512} {
		for _, huge := range []bool{false, true} {
			b.Run(fmt.Sprintf("%dMB/huge-pages=%t", memory, huge), func(b *testing.B) {
				percentiles(b, func() time.Duration { return boot(b, kernel, image, memory<<20, huge, "Hello from Linux 6.1") })
			})
		}
	}
	program := compiled(b, "../apps/hello/hello.c", "-target", "native")
	b.Run("native", func(b *testing.B) {
		percentiles(b, func() time.Duration { return native(b, program) })
	})
}

// BenchmarkPython is the time from the tender's start to the first line that
// Python prints; "native" is Debian's python3.11 on this machine.
func BenchmarkPython(b *testing.B) {
	kernel, image := testenv.Guest(b, "lkl-python3.spt"), filepath.Join(b.TempDir(), "root.ext4")
	must.NoError(b, disk.Build(b.Context(), strings.TrimSuffix(kernel, ".spt")+".root", image, disk.BuildOptions{Size: 64 << 20}))
	for name, program := range map[string]string{
		"print":       "print(1)",
		"http.server": "import http.server; print(1)",
	} {
		b.Run(name, func(b *testing.B) {
			percentiles(b, func() time.Duration { return boot(b, kernel, image, 128<<20, false, "1\n", "-c", program) })
		})
		b.Run(name+"/native", func(b *testing.B) {
			testenv.Need(b, testenv.Tool("/usr/bin/python3.11"))
			percentiles(b, func() time.Duration { return native(b, "/usr/bin/python3.11", "-c", program) })
		})
	}
}

// percentiles runs what gives a duration again and again.
func percentiles(b *testing.B, once func() time.Duration) {
	b.Helper()
	var took []time.Duration
	for b.Loop() {
		took = append(took, once())
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "ms-median")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "ms-p99")
}

// boot starts a guest, and gives the time to its first line.
func boot(b *testing.B, kernel, image string, memory uint64, huge bool, want string, args ...string) time.Duration {
	b.Helper()
	g, console := tended(b, kernel, image, memory, setup{config: online(map[string]string{"offload": "1"}), args: args})
	g.HugePages = huge
	began := time.Now()
	p, err := spt.Start(g, tender.Jail{})
	must.NoError(b, err)
	line := make([]byte, 4096)
	n, err := console.Read(line)
	took := time.Since(began)
	must.NoError(b, err)
	must.StrHasPrefix(b, want, string(line[:n]))
	exit, err := p.Wait()
	must.NoError(b, err)
	must.Eq(b, tender.Exit{}, exit)
	return took
}

func native(b *testing.B, program string, args ...string) time.Duration {
	b.Helper()
	cmd := exec.Command(program, args...)
	out, err := cmd.StdoutPipe()
	must.NoError(b, err)
	began := time.Now()
	must.NoError(b, cmd.Start())
	_, err = out.Read(make([]byte, 4096))
	took := time.Since(began)
	must.NoError(b, err)
	must.NoError(b, cmd.Wait())
	return took
}

// SPDX-License-Identifier: MPL-2.0

//go:build linux && amd64

package lkl

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/disk"
	"github.com/lkl-nomad/nomad-driver-lkl/tender"
	"github.com/lkl-nomad/nomad-driver-lkl/tender/spt"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv/measure"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
)

// newTenderGuest describes a guest for the tender, without the command line
// program in between. It uses the kernel, memory, root, configuration and
// arguments of the spec. It also returns the read end of the guest's console.
func newTenderGuest(tb testing.TB, s guestSpec) (g *tender.Guest, console *os.File) {
	tb.Helper()
	memory, err := strconv.ParseUint(s.memory, 10, 32)
	must.NoError(tb, err)
	file, err := os.Open(s.kernel)
	must.NoError(tb, err)
	info, err := file.Stat()
	must.NoError(tb, err)
	g = &tender.Guest{Kernel: file, Memory: memory << 20, CommandLine: strings.Join(s.commandLine(tb), " ")}
	g.Info, err = unikernel.Read(file, info.Size())
	must.NoError(tb, err)
	root, err := os.OpenFile(s.root, os.O_RDWR, 0)
	must.NoError(tb, err)
	info, err = root.Stat()
	must.NoError(tb, err)
	_, cable := socketPair(tb)
	_, control := socketPair(tb)
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

// BenchmarkBoot measures the time from spt.Start to the first line that the
// program prints; by then the kernel has mounted the root and configured the
// network. "native" runs the same program as a host process. The benchmark
// reports median and 99th percentile; ns/op also includes the shutdown.
func BenchmarkBoot(b *testing.B) {
	s := guestSpec{kernel: testenv.Guest(b, "lkl-hello.spt"), root: buildImage(b, 64, nil)}
	for _, s.memory = range []string{"12", "64", "512"} {
		for _, hugePages := range []bool{false, true} {
			b.Run(fmt.Sprintf("%sMB/huge-pages=%t", s.memory, hugePages), func(b *testing.B) {
				reportPercentiles(b, func() time.Duration { return measureBoot(b, s, hugePages, "Hello from Linux 6.1") })
			})
		}
	}
	program := compileGuest(b, "../apps/hello/hello.c", "-target", "native")
	b.Run("native", func(b *testing.B) {
		reportPercentiles(b, func() time.Duration { return measureNative(b, program) })
	})
}

// BenchmarkPython measures the time from spt.Start to the first line that
// Python prints; "native" is Debian's python3.11 as a host process.
func BenchmarkPython(b *testing.B) {
	s := guestSpec{kernel: testenv.Guest(b, "lkl-python3.spt"), root: filepath.Join(b.TempDir(), "root.ext4"), memory: "128"}
	files := strings.TrimSuffix(s.kernel, ".spt") + ".root"
	must.NoError(b, disk.Build(b.Context(), files, s.root, disk.BuildOptions{Size: 64 << 20}))
	for name, program := range map[string]string{
		"print":       "print(1)",
		"http.server": "import http.server; print(1)",
	} {
		b.Run(name, func(b *testing.B) {
			s.args = []string{"-c", program}
			reportPercentiles(b, func() time.Duration { return measureBoot(b, s, false, "1\n") })
		})
		b.Run(name+"/native", func(b *testing.B) {
			testenv.Need(b, testenv.Tool("/usr/bin/python3.11"))
			reportPercentiles(b, func() time.Duration { return measureNative(b, "/usr/bin/python3.11", "-c", program) })
		})
	}
}

// reportPercentiles calls once for each iteration, and reports the median and the
// 99th percentile of the durations that it returns.
func reportPercentiles(b *testing.B, once func() time.Duration) {
	b.Helper()
	var durations []float64
	for b.Loop() {
		durations = append(durations, float64(once().Microseconds())/1000)
	}
	b.ReportMetric(measure.Median(durations), "ms-median")
	b.ReportMetric(measure.Quantile(durations, 0.99), "ms-p99")
}

// measureBoot runs a guest to its end and returns the time to its first line,
// which must begin with want.
func measureBoot(b *testing.B, s guestSpec, hugePages bool, want string) time.Duration {
	b.Helper()
	s.config = networkWith(map[string]string{"offload": "1"})
	g, console := newTenderGuest(b, s)
	g.HugePages = hugePages
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

// measureNative runs a host process to its end and returns the time to its
// first output.
func measureNative(b *testing.B, program string, args ...string) time.Duration {
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

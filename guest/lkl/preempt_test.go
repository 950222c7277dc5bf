// SPDX-License-Identifier: MPL-2.0

//go:build linux && amd64

package lkl

import (
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/shoenig/test"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/tender"
	"github.com/lkl-nomad/nomad-driver-lkl/tender/spt"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv/measure"
)

// runUnderSignals runs a guest to its end while it gets the signal of preemption all the
// time. It returns the output and the number of signals.
func runUnderSignals(t *testing.T, s guestSpec) (output string, signals int) {
	t.Helper()
	g, console := newTenderGuest(t, s)
	p, err := spt.Start(g, tender.Jail{})
	must.NoError(t, err)
	must.NoError(t, g.Console.Close()) // the guest holds the only writer
	sent := sendSignals(p)
	text, err := io.ReadAll(console)
	signals = sent()
	must.NoError(t, err)
	exit, err := p.Wait()
	must.NoError(t, err)
	must.Eq(t, tender.Exit{}, exit, must.Sprint(string(text)))
	return string(text), signals
}

// signalInterval is longer than the guest's handler takes. Handlers that interrupt each
// other without end would fill the signal stack.
const signalInterval = 100 * time.Microsecond

// sendSignals sends the signal of preemption to a process at this interval until stop is
// called, which returns the number of signals.
func sendSignals(p *spt.Process) (stop func() int) {
	done, sent := make(chan struct{}), make(chan int)
	go func() {
		ticker := time.NewTicker(signalInterval)
		defer ticker.Stop()
		for n := 0; ; {
			select {
			case <-done:
				sent <- n
				return
			case <-ticker.C:
				if p.Signal(syscall.SIGVTALRM) == nil {
					n++
				}
			}
		}
	}()
	return func() int {
		close(done)
		return <-sent
	}
}

func TestPreempt_KeepsAllRegisters(t *testing.T) {
	output, signals := runUnderSignals(t, guestSpec{
		kernel: compileGuest(t, "registers.c"), root: buildImage(t, 16, nil), memory: "32", args: []string{"500"},
	})
	test.Eq(t, "kept\n", output)
	test.Greater(t, 100, signals)
}

// The signal also interrupts the kernel, in the boot, in system calls and in the
// shutdown. It must have no effect there.
func TestPreempt_KernelIsNotInterrupted(t *testing.T) {
	for range 5 {
		output, _ := runUnderSignals(t, guestSpec{
			kernel: compileGuest(t, "probe.c"), root: buildImage(t, 16, nil), memory: "32",
			args: []string{"write", "/file", "read", "/file", "say", "end"},
		})
		test.StrHasSuffix(t, "end\n", output)
	}
}

func startComputing(t *testing.T, s guestSpec) *guest {
	t.Helper()
	s.kernel = compileGuest(t, "compute.c")
	g := startGuest(t, s)
	g.expectLine(t, "computing")
	return g
}

func TestPreempt_SignalReachesComputingProgram(t *testing.T) {
	g := startComputing(t, guestSpec{})
	for range 3 {
		g.sendControl(t, "signal 10")
		g.expectLine(t, "caught")
	}
}

func TestPreempt_StopEndsComputingProgram(t *testing.T) {
	g := startComputing(t, guestSpec{})
	g.sendControl(t, "stop 15")
	_, status := g.waitExit(t)
	must.Eq(t, exitBySignal(syscall.SIGTERM), status)
	requireCleanDisk(t, g.root)
}

// A stopped guest continues where it was.
func TestPreempt_ComputingProgramCanBeStoppedAndContinued(t *testing.T) {
	g, console := newTenderGuest(t, guestSpec{
		kernel: compileGuest(t, "registers.c"), root: buildImage(t, 16, nil), memory: "32", args: []string{"500"},
	})
	p, err := spt.Start(g, tender.Jail{})
	must.NoError(t, err)
	must.NoError(t, g.Console.Close())
	for range 50 {
		must.NoError(t, p.Signal(syscall.SIGSTOP))
		var status syscall.WaitStatus
		_, err := syscall.Wait4(p.Pid, &status, syscall.WUNTRACED, nil)
		must.NoError(t, err)
		must.True(t, status.Stopped(), must.Sprint("the program must compute during the whole test"))
		must.NoError(t, p.Signal(syscall.SIGCONT))
	}
	text, err := io.ReadAll(console)
	must.NoError(t, err)
	must.Eq(t, "kept\n", string(text))
	_, err = p.Wait()
	must.NoError(t, err)
}

func TestPreempt_ComputingProgramAnswersTheNetwork(t *testing.T) {
	if !enterOwnNetwork(t) {
		return
	}
	startComputing(t, guestSpec{config: defaultNetwork, tap: "tap0"})
	for range 10 {
		for _, address := range []string{"10.0.0.2:80", "[fd00::2]:80"} {
			c, err := net.Dial("tcp", address)
			must.NoError(t, err)
			answer, err := io.ReadAll(c)
			must.NoError(t, err)
			must.Eq(t, "well\n", string(answer))
			must.NoError(t, c.Close())
		}
	}
}

// BenchmarkPreempt measures the processor time of a program that computes: without
// preemption, with it, and with many more signals.
func BenchmarkPreempt(b *testing.B) {
	s := guestSpec{kernel: compileGuest(b, "work.c"), root: buildImage(b, 16, nil), memory: "32", args: []string{"1000"}}
	for _, mode := range []string{"without", "timer", "signals"} {
		b.Run(mode, func(b *testing.B) {
			var spent []float64
			signals := 0
			for b.Loop() {
				milliseconds, n := measureWork(b, s, mode)
				spent, signals = append(spent, milliseconds), signals+n
			}
			b.ReportMetric(measure.Median(spent), "cpu-ms-median")
			b.ReportMetric(measure.Quantile(spent, 0), "cpu-ms-min")
			b.ReportMetric(float64(signals)/float64(b.N), "signals/op")
		})
	}
}

// measureWork runs a guest and returns its processor time, and the number of signals
// that it got.
func measureWork(b *testing.B, s guestSpec, mode string) (milliseconds float64, signals int) {
	b.Helper()
	g, console := newTenderGuest(b, s)
	if mode == "without" {
		g.Info.Preempt = nil
	}
	p, err := spt.Start(g, tender.Jail{})
	must.NoError(b, err)
	must.NoError(b, g.Console.Close())
	stop := func() int { return 0 }
	if mode == "signals" {
		stop = sendSignals(p)
	}
	_, err = io.ReadAll(console)
	signals = stop()
	must.NoError(b, err)
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/schedstat", p.Pid))
	must.NoError(b, err)
	var nanoseconds float64
	_, err = fmt.Sscan(string(content), &nanoseconds)
	must.NoError(b, err)
	exit, err := p.Wait()
	must.NoError(b, err)
	must.Eq(b, tender.Exit{}, exit)
	return nanoseconds / 1e6, signals
}

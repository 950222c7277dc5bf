// SPDX-License-Identifier: MPL-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"

	"github.com/lkl-nomad/nomad-driver-lkl/driver"
	"github.com/lkl-nomad/nomad-driver-lkl/tender"
	"github.com/lkl-nomad/nomad-driver-lkl/tender/spt"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel/cmdline"
)

const runUsage = `usage: nomad-driver-lkl run [OPTION ...] [--] KERNEL [ARG ...]

Runs the Solo5 unikernel KERNEL, without Nomad, and exits with its status: 128
and the signal's number where a signal ended it. The ARGs, joined by blanks, are
its command line. The options are those of Solo5's own tenders:

  --mem=MB                      guest memory (default 512)
  --net:NAME=IFACE              attach the tap IFACE as network NAME
  --net:NAME=@FD                attach the tap that is open as descriptor FD
  --net-mac:NAME=MAC            its MAC address (default random)
  --block:NAME=PATH             attach the file or block device PATH as disk NAME
  --block-sector-size:NAME=N    its block size: a power of two, 512 or more
  --x-exec-heap                 make heap and stack executable (dangerous)
  --tender=spt                  how to run it (default spt)
  --version                     print the version and the ABI versions
  --help                        print this

Every device that the unikernel declares has to be attached: see inspect KERNEL.

What Solo5's tenders lack, for any unikernel:

  --block-write-through:NAME    what it writes is on the host's disk at once
  --huge-pages                  back its memory with huge pages as it is used

What Solo5's ABI lacks, for unikernels that are told of it (docs/guests.md):

  --block-transfer:NAME=BYTES   let one call move so many bytes, whole blocks, at
                                most 1048576
  --block-flush:NAME            let it flush the disk to the host's (fdatasync)
  --net-offload:NAME            virtio headers and segments not yet cut, for a guest
                                whose configuration says so too; @FD has to be open
                                with IFF_VNET_HDR
`

// runCommand is "nomad-driver-lkl run": its result is the exit status.
func runCommand(args []string, stdout, stderr io.Writer) int {
	o, err := parseRun(args)
	switch {
	case errors.Is(err, errRunHelp):
		_, _ = fmt.Fprint(stdout, runUsage)
		return 0
	case errors.Is(err, errRunVersion):
		// Solo5's tenders say it on stderr, in these words.
		_, _ = fmt.Fprintf(stderr, "nomad-driver-lkl run: spt tender, version %s\nABI version 2\nABI version 1\n", driver.Version)
		return 0
	case err != nil:
		complain(stderr, err)
		_, _ = fmt.Fprint(stderr, runUsage)
		return 1
	}
	if o.execHeap {
		complain(stderr, errors.New("WARNING: --x-exec-heap is dangerous: it makes heap and stack executable"))
	}
	exit, err := o.run(stdout)
	if err != nil {
		complain(stderr, err)
		return 1
	}
	if exit.Signal != 0 {
		complain(stderr, errors.New(exit.Reason()))
	}
	return exit.Status()
}

// complain prints an error as the stock tenders do, each of its lines with the
// program's name.
func complain(stderr io.Writer, err error) {
	for _, line := range strings.Split(err.Error(), "\n") {
		_, _ = fmt.Fprintf(stderr, "nomad-driver-lkl run: %s\n", line)
	}
}

func (o *runOptions) run(stdout io.Writer) (tender.Exit, error) {
	g, err := o.guest()
	if err != nil {
		return tender.Exit{}, err
	}
	defer closeGuest(g)
	console, finish, err := consoleFor(stdout)
	if err != nil {
		return tender.Exit{}, err
	}
	g.Console = console

	// The guest dies with this thread, and so with this program.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	defer signal.Stop(signals)

	p, err := spt.Start(g, tender.Jail{DieWithParent: true})
	if err != nil {
		return tender.Exit{}, errors.Join(err, finish())
	}
	done := make(chan struct{})
	forwarded := make(chan struct{})
	go func() {
		defer close(forwarded)
		forward(p, signals, done)
	}()
	exit, err := p.Wait()
	close(done)
	<-forwarded
	return exit, errors.Join(err, finish())
}

// forward ends the guest when this program is asked to end: by the same signal,
// then by one that no guest can put off.
func forward(p *spt.Process, signals <-chan os.Signal, done <-chan struct{}) {
	again := false
	for {
		select {
		case <-done:
			return
		case s := <-signals:
			sig, ok := s.(syscall.Signal)
			if again || !ok {
				sig = syscall.SIGKILL
			}
			again = true
			// It may have ended in the meantime, which Wait tells.
			_ = p.Signal(sig)
		}
	}
}

// consoleFor makes a file of where the guest's output goes, and a function that
// ends when all of it has arrived there.
func consoleFor(stdout io.Writer) (*os.File, func() error, error) {
	if f, ok := stdout.(*os.File); ok {
		return f, func() error { return nil }, nil
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, nil, fmt.Errorf("making the console: %w", err)
	}
	copied := make(chan error, 1)
	go func() {
		_, err := io.Copy(stdout, r)
		copied <- errors.Join(err, r.Close())
	}()
	return w, func() error { return errors.Join(w.Close(), <-copied) }, nil
}

// guest opens the kernel and attaches its devices.
func (o *runOptions) guest() (_ *tender.Guest, err error) {
	// Not to wait for the other end, should it be a FIFO.
	kernel, err := os.OpenFile(o.kernel, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("%s: Could not open: %w", o.kernel, err)
	}
	g := &tender.Guest{Kernel: kernel, Memory: o.memory, ExecHeap: o.execHeap, HugePages: o.hugePages}
	defer func() {
		if err != nil {
			closeGuest(g)
		}
	}()
	info, err := kernel.Stat()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.kernel, err)
	}
	if g.Info, err = unikernel.Read(kernel, info.Size()); err != nil {
		return nil, fmt.Errorf("%s: %w", o.kernel, err)
	}
	if g.Info.Target != unikernel.TargetSPT {
		return nil, fmt.Errorf("%s: Executable is not for the solo5-spt target but for %s", o.kernel, g.Info.Target)
	}
	if g.CommandLine, err = cmdline.Join(o.args); err != nil {
		return nil, fmt.Errorf("guest command line: %w", err)
	}
	return g, o.attach(g)
}

func closeGuest(g *tender.Guest) {
	for _, d := range g.Devices {
		if d.File != nil {
			_ = d.File.Close()
		}
	}
	_ = g.Kernel.Close()
}

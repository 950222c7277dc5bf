// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/memfd"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/version"
	"github.com/lkl-nomad/nomad-driver-lkl/tender"
	"github.com/lkl-nomad/nomad-driver-lkl/tender/spt"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel/cmdline"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel/lkl"
)

const runUsage = `usage: PROGRAM run [OPTION ...] [--] KERNEL [ARG ...]

Runs the Solo5 unikernel KERNEL without Nomad, and exits with its exit status. If a
signal ended it, the status is 128 plus the signal's number. The ARGs, joined by
blanks, are its command line. For a Linux guest they have the form
NAME=VALUE ... --config JSON -- ARGUMENT ... (see docs/guest-reference.md).

These options are the same as in Solo5's tenders:

  --mem=MB                      guest memory (default 512)
  --net:NAME=IFACE              attach the tap IFACE as network NAME
  --net:NAME=@FD                attach the tap that is open as file descriptor FD
  --net-mac:NAME=MAC            set the MAC address of the network (default random)
  --block:NAME=PATH             attach the file or block device PATH as disk NAME
  --block-sector-size:NAME=N    set the block size: a power of two, 512 or more
  --x-exec-heap                 make heap and stack executable (dangerous)
  --tender=spt                  select the tender (default spt)
  --version                     print the version and the ABI versions
  --help                        print this

All devices that the unikernel declares must be attached. "PROGRAM inspect KERNEL"
lists them. A unikernel with the feature devices accepts others too.

Options for all unikernels that Solo5's tenders do not have:

  --block-write-through:NAME    write to the host's disk before a write returns
  --huge-pages                  back the guest's memory with huge pages

Extensions of Solo5's ABI. A unikernel must support them, and its configuration must
enable them (see docs/guest-reference.md):

  --block-transfer:NAME=BYTES   allow transfers up to this size, at most 1048576
  --block-flush:NAME            allow the guest to flush the disk (fdatasync)
  --net-offload:NAME            pass virtio headers and unsegmented packets; @FD must be
                                open with IFF_VNET_HDR

For Linux guests with the feature output:

  --argv0=NAME                  set the program's argv[0] (default: the name of KERNEL without
                                "lkl-" and ".spt")

For Linux guests with the feature files. Only root can use it:

  --volume=SOURCE:TARGET[:ro]   mount a directory or a file of the host at the path TARGET
                                of the guest, in both directions or read-only; may be
                                repeated
`

// runCommand implements "run". Its errors and exit statuses are those of Solo5's
// tenders.
func runCommand(e *Env, args []string) int {
	o, err := parseRun(args)
	switch {
	case errors.Is(err, errRunHelp):
		return e.print(e.Usage)
	case errors.Is(err, errRunVersion):
		// Solo5's tenders print the version to stderr, in these words.
		fmt.Fprintf(e.Stderr, "%s: spt tender, version %s\nABI version 2\nABI version 1\n", e.Name, version.Version)
		return exitOK
	case err != nil:
		e.usageError(err)
		return exitFailed
	}
	if o.execHeap {
		e.fail(exitOK, errors.New("WARNING: --x-exec-heap is dangerous: it makes heap and stack executable"))
	}
	exit, err := o.run(e)
	if err != nil {
		return e.fail(exitFailed, err)
	}
	if exit.Signal != 0 {
		e.fail(exit.Status(), errors.New(exit.Reason()))
	}
	return exit.Status()
}

func (o *runOptions) run(e *Env) (tender.Exit, error) {
	g, err := o.guest(e)
	if err != nil {
		return tender.Exit{}, err
	}
	defer closeGuest(g)
	finish, err := o.openOutputs(g, e)
	if err != nil {
		return tender.Exit{}, err
	}
	volumes, err := o.serveVolumes(g, e.OpenFileServer)
	if err != nil {
		return tender.Exit{}, errors.Join(err, finish())
	}
	exit, err := startAndWait(g)
	closeGuest(g) // the server of the volumes ends with the guest's files
	return exit, errors.Join(err, finish(), volumes.wait())
}

// startAndWait runs a guest, and passes this process's signals on to it.
func startAndWait(g *tender.Guest) (tender.Exit, error) {
	// The kernel kills the guest when this thread ends, and so with this program.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	defer signal.Stop(signals)

	p, err := spt.Start(g, tender.Jail{DieWithParent: true})
	if err != nil {
		return tender.Exit{}, err
	}
	ended := make(chan struct{})
	forwarded := make(chan struct{})
	go func() {
		defer close(forwarded)
		forwardSignals(p, signals, ended)
	}()
	exit, err := p.Wait()
	close(ended)
	<-forwarded
	return exit, err
}

// forwardSignals passes the first signal on to the guest. The second one kills the
// guest.
func forwardSignals(p *spt.Process, signals <-chan os.Signal, ended <-chan struct{}) {
	forwarded := false
	for {
		select {
		case <-ended:
			return
		case s := <-signals:
			sig, ok := s.(syscall.Signal)
			if forwarded || !ok {
				sig = syscall.SIGKILL
			}
			forwarded = true
			_ = p.Signal(sig) // an error means that the guest has ended
		}
	}
}

// guest opens the kernel and attaches the devices.
func (o *runOptions) guest(e *Env) (_ *tender.Guest, err error) {
	// O_NONBLOCK, because opening a FIFO would wait for a writer.
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
	if err := o.checkVolumes(g.Info); err != nil {
		return nil, err
	}
	if err := o.checkArgv0(g.Info); err != nil {
		return nil, err
	}
	if err := o.setCommandLine(g, e); err != nil {
		return nil, fmt.Errorf("guest command line: %w", err)
	}
	return g, o.attach(g)
}

// setCommandLine sets the guest's command line. A long one is in a file.
func (o *runOptions) setCommandLine(g *tender.Guest, e *Env) error {
	limit := cmdline.MaxLength
	if g.Info.LongCommandLine() {
		limit = cmdline.MaxLongLength
	}
	line, err := cmdline.Join(o.args, limit)
	if err == nil && len(o.volumes) > 0 {
		line, err = lkl.AddMounts(line, o.mounts())
	}
	if err == nil {
		line, err = o.setOutput(line, g.Info, e)
	}
	if err != nil || len(line) <= cmdline.MaxLength {
		g.CommandLine = line
		return err
	}
	g.CommandLineSize = uint64(len(line))
	g.CommandLineFile, err = memfd.New("command-line", []byte(line))
	return err
}

func closeGuest(g *tender.Guest) {
	for _, d := range g.Devices {
		if d.File != nil {
			_ = d.File.Close()
		}
	}
	if g.CommandLineFile != nil {
		_ = g.CommandLineFile.Close()
	}
	_ = g.Kernel.Close()
}

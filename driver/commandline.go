// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"errors"
	"fmt"
	"maps"

	"github.com/lkl-nomad/nomad-driver-lkl/tender/spt"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel/cmdline"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel/lkl"
)

// While a guest starts, it has a long command line, the program's copy of it and lists of
// its words in memory. A need of at most smallStart is not checked.
const (
	memoryPerWord = 48
	smallStart    = 256 << 10
	memoryOfGuest = 16 << 20 // for kernel, program and file systems
)

// startMemory returns the memory in bytes that a guest needs for a command line.
func startMemory(line string, words int) uint64 {
	need := uint64(2*len(line) + memoryPerWord*words)
	if len(line) <= cmdline.MaxLength || need <= smallStart {
		return 0
	}
	return need + memoryOfGuest
}

// commandLine returns the guest's command line: its arguments, and for an LKL
// guest also Nomad's environment and the guest's configuration.
func (g guest) commandLine() (string, error) {
	line, err := g.encodeCommandLine()
	switch need := startMemory(line, len(g.job.program.env)+len(g.job.program.args)); {
	case errors.Is(err, cmdline.ErrTooLong):
		return "", fmt.Errorf("%w: %s", err, g.shorterCommandLine())
	case err != nil:
		return "", err
	case need > g.memory():
		return "", fmt.Errorf("environment and arguments of %d bytes need a guest with at least %d KiB of memory, "+
			"but it has %d KiB: raise resources.memory, or put long values into files", len(line), (need+1023)>>10, g.memory()>>10)
	}
	return line, nil
}

// shorterCommandLine returns advice for a job whose command line is too long.
func (g guest) shorterCommandLine() string {
	const files = "put long values into files, such as templates without env = true"
	if g.kernel.flavor != unikernel.FlavorLKL || g.kernel.elf.LongCommandLine() {
		return files
	}
	return "link the kernel with a current lkl-cc, whose guests accept 2 MiB (feature commandline), or " + files
}

// encodeCommandLine returns the guest's command line, however long the guest's memory
// allows it to be.
func (g guest) encodeCommandLine() (string, error) {
	args := g.job.program.args
	if g.kernel.flavor != unikernel.FlavorLKL {
		args, err := g.network.expand(args)
		if err != nil {
			return "", err
		}
		return cmdline.Solo5(args)
	}
	env, err := g.environment()
	if err != nil {
		return "", err
	}
	return lkl.CommandLine(g.kernel.elf, g.lklConfig(), env, args)
}

// environment returns the program's environment. For a legacy LKL guest it also
// contains the memory size of the guest's kernel, which would otherwise be the
// same for every guest.
func (g guest) environment() (map[string]string, error) {
	env := maps.Clone(g.job.program.env)
	if env == nil {
		env = map[string]string{}
	}
	g.redirectUpstreams(env)
	if _, ok := env[lkl.BootVariable]; ok || g.kernel.supports(unikernel.FeatureMemory) {
		return env, nil
	}
	argument, err := lkl.KernelMemory(g.memory())
	if err != nil {
		return nil, fmt.Errorf("set the memory of the guest's kernel (or set %s in the job's env): %w", lkl.BootVariable, err)
	}
	env[lkl.BootVariable] = argument
	return env, nil
}

// lklConfig returns the configuration of an LKL guest. The guest needs one even
// without a network: otherwise it adds no disk.
func (g guest) lklConfig() *lkl.Config {
	k := g.kernel
	c := &lkl.Config{Sysctl: g.job.config.sysctls(), KernelLog: g.job.config.KernelLog}
	if program := g.job.program; k.supports(unikernel.FeatureProgram) {
		c.Program.Directory = program.dir
		c.Program.UID, c.Program.GID = program.user.uid, program.user.gid
	}
	c.Program.Stack, c.RootOptions = g.job.config.stackSize(), g.job.config.rootOptions()
	c.FSGSBase = k.supports(unikernel.FeatureFSGSBase) && spt.HostHasFSGSBase()
	if offer := g.diskOffer(); offer.Transfer != 0 || offer.Flush {
		c.Disks = []lkl.Disk{offer}
	}
	c.Disks = append(c.Disks, g.disks.offers()...)
	if root := k.diskDevice(&g.job.config); k.supports(unikernel.FeatureConfig) && root != unikernel.DeviceRootfs {
		c.Root = root
	}
	c.Mounts = append(g.live.lkl(), g.disks.mounts()...)
	sortMounts(c.Mounts)
	if g.disk != nil && g.disk.readOnly && k.supports(unikernel.FeatureConfig) {
		c.Hostname, c.Entropy = g.job.hostname(), g.disk.entropy
	}
	g.addOutput(c)
	g.addNetwork(c)
	g.addDefaultSysctls(c)
	return c
}

// diskOffer returns the block device calls beyond the Solo5 ABI that the tender
// offers to the guest, as far as the guest supports them.
func (g guest) diskOffer() lkl.Disk {
	if g.disk == nil {
		return lkl.Disk{}
	}
	return g.kernel.offer(g.kernel.diskDevice(&g.job.config), g.disk.sync)
}

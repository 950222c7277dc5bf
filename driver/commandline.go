// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"fmt"
	"maps"

	"github.com/lkl-nomad/nomad-driver-lkl/tender"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel/cmdline"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel/lkl"
)

// writeCommandLine writes what the guest is told: its arguments, and for Linux
// also Nomad's environment and its addresses.
func (s *start) writeCommandLine() error {
	if s.kernel.flavor != unikernel.FlavorLKL {
		args, err := s.addresses.fill(s.job.Args)
		if err != nil {
			return err
		}
		s.line, err = cmdline.Solo5(args)
		return err
	}
	env, err := s.environment()
	if err != nil {
		return err
	}
	config := s.lklConfig()
	config.Program.Directory = s.job.WorkDir
	config.Disks = s.lklDisks()
	config.FSGSBase = s.kernel.knows(unikernel.FeatureFSGSBase) && tender.HostHasFSGSBase()
	config.Program.UID, config.Program.GID, _ = parseUser(s.task.User) // validated
	s.line, err = lkl.CommandLine(s.kernel.image, config, env, s.job.Args)
	return err
}

// environment is Nomad's, and for a guest of 2020 the size of its kernel, which
// would else be the same for every guest.
func (s *start) environment() (map[string]string, error) {
	env := maps.Clone(s.task.Env)
	if env == nil {
		env = map[string]string{}
	}
	if _, ok := env[lkl.BootVariable]; ok || s.kernel.knows(unikernel.FeatureMemory) {
		return env, nil
	}
	argument, err := lkl.KernelMemory(s.memory)
	if err != nil {
		return nil, fmt.Errorf("size the kernel of the guest (or set %s in the job's env): %w", lkl.BootVariable, err)
	}
	env[lkl.BootVariable] = argument
	return env, nil
}

// lklConfig is the configuration of an LKL guest. It has to be there even
// without a network: without it the guest adds no disk either.
func (s *start) lklConfig() *lkl.Config {
	c := &lkl.Config{}
	if s.kernel.knows(unikernel.FeatureConfig) && s.kernel.diskDevice() != unikernel.DeviceRootfs {
		c.Root = s.kernel.diskDevice()
	}
	if s.tap == nil {
		return c
	}
	c.Interfaces = []lkl.Interface{s.addresses.lklInterface(s.kernel.netDevice(), s.tap)}
	c.Gateway, c.Gateway6 = s.addresses.gateway4, s.addresses.gateway6
	if s.kernel.knows(unikernel.FeatureConfig) {
		c.Routes = s.addresses.lklRoutes()
	}
	return c
}

// lklDisks tells the guest what its tender offers for its disk, as far as it
// understands that.
func (s *start) lklDisks() []lkl.Disk {
	offer := lkl.Disk{Name: s.kernel.diskDevice()}
	if s.kernel.knows(unikernel.FeatureTransfer) {
		offer.Transfer = tender.LargestTransfer
	}
	offer.Flush = s.job.RootfsSync == syncFlush // which check has let pass
	if s.disk == nil || offer.Transfer == 0 && !offer.Flush {
		return nil
	}
	return []lkl.Disk{offer}
}

// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"fmt"
	"maps"

	"github.com/lkl-nomad/nomad-driver-lkl/tender"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
)

// writeCommandLine writes what the guest is told: its arguments, and for Linux
// also Nomad's environment and its addresses.
func (s *start) writeCommandLine() error {
	in := unikernel.Invocation{Args: s.job.Args}
	var err error
	switch s.kernel.flavor {
	case unikernel.FlavorLKL:
		in.Env, err = s.environment()
		in.Config = s.lklConfig()
		in.Config.Program.Directory = s.job.WorkDir
		in.Config.Disks = s.lklDisks()
		in.Config.FSGSBase = s.kernel.knows(unikernel.FeatureFSGSBase) && tender.HostHasFSGSBase()
		in.Config.Program.UID, in.Config.Program.GID, _ = parseUser(s.task.User) // validated
	default:
		in.Args, err = s.addresses.fill(s.job.Args)
	}
	if err != nil {
		return err
	}
	s.line, err = unikernel.CommandLine(s.kernel.flavor, s.kernel.image, in)
	return err
}

// environment is Nomad's, and for a guest of 2020 the size of its kernel, which
// would else be the same for every guest.
func (s *start) environment() (map[string]string, error) {
	env := maps.Clone(s.task.Env)
	if env == nil {
		env = map[string]string{}
	}
	if _, ok := env[unikernel.LKLBootVariable]; ok || s.kernel.knows(unikernel.FeatureMemory) {
		return env, nil
	}
	argument, err := unikernel.LKLKernelMemory(s.memory)
	if err != nil {
		return nil, fmt.Errorf("size the kernel of the guest (or set %s in the job's env): %w", unikernel.LKLBootVariable, err)
	}
	env[unikernel.LKLBootVariable] = argument
	return env, nil
}

// lklConfig is the configuration of an LKL guest. It has to be there even
// without a network: without it the guest adds no disk either.
func (s *start) lklConfig() *unikernel.LKLConfig {
	c := &unikernel.LKLConfig{Features: s.kernel.image.Features}
	if s.kernel.knows(unikernel.FeatureConfig) && s.kernel.diskDevice() != unikernel.DeviceRootfs {
		c.Root = s.kernel.diskDevice()
	}
	if s.tap == nil {
		return c
	}
	c.Interfaces = []unikernel.LKLInterface{s.addresses.lklInterface(s.kernel.netDevice(), s.tap)}
	c.Gateway, c.Gateway6 = s.addresses.gateway4, s.addresses.gateway6
	if s.kernel.knows(unikernel.FeatureConfig) {
		c.Routes = s.addresses.lklRoutes()
	}
	return c
}

// lklDisks tells the guest what its tender offers for its disk, as far as it
// understands that.
func (s *start) lklDisks() []unikernel.LKLDisk {
	offer := unikernel.LKLDisk{Name: s.kernel.diskDevice()}
	if s.kernel.knows(unikernel.FeatureTransfer) {
		offer.Transfer = tender.LargestTransfer
	}
	offer.Flush = s.job.RootfsSync == syncFlush // which check has let pass
	if s.disk == nil || offer.Transfer == 0 && !offer.Flush {
		return nil
	}
	return []unikernel.LKLDisk{offer}
}

// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"cmp"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/problems"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel/lkl"
)

func (t *TaskConfig) validateArgv0(list *problems.List) {
	if err := lkl.CheckName(t.Argv0); err != nil {
		list.Addf("argv0", "%w", err)
	}
}

func (k kernelInfo) checkArgv0(list *problems.List, config *TaskConfig) {
	if config.Argv0 != "" && !k.supports(unikernel.FeatureOutput) {
		list.Addf("argv0", "is not supported by this guest (%s)", inspectHint)
	}
}

// addOutput sets the program's name and its standard error. Nomad's logs are no terminals.
func (g guest) addOutput(c *lkl.Config) {
	if !g.separateStderr() {
		return
	}
	c.Program.Name = cmp.Or(g.job.config.Argv0, lkl.ProgramName(g.job.kernelName()))
	c.Output.Stderr = true
}

// separateStderr reports whether the guest can write its standard error apart from its
// standard output.
func (g guest) separateStderr() bool {
	return g.kernel.supports(unikernel.FeatureOutput)
}

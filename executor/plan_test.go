// SPDX-License-Identifier: MPL-2.0

package executor

import (
	"testing"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
)

func TestPlan_CheckReportsEveryMistake(t *testing.T) {
	good := Plan{Version: Version, Task: "a", Dir: "/d", Tender: TenderSPT, Devices: []Device{
		{Name: "disk", Type: unikernel.Block, FD: 1},
		{Name: "control", Type: unikernel.Net, Control: true},
	}}
	must.NoError(t, good.Check(2))
	bad := Plan{
		Version: 2, Dir: "d", Tender: "xen", KernelFD: 9, UIDBase: -1,
		Devices: []Device{
			{Name: "a", Type: unikernel.Block, Control: true},
			{Name: "b", Type: unikernel.Net, Control: true},
			{Name: "c", Type: unikernel.Net, Control: true},
			{Name: "d", Type: unikernel.Net, FD: -1},
		},
	}
	err := bad.Check(2)
	must.ErrorIs(t, err, ErrPlan)
	for _, mistake := range []string{
		"version 2", "no task ID", `"d" is not absolute`, `unknown tender "xen"`, "the kernel is the inherited file with index 9, but there are 2",
		`control device "a" is not a network device`, "2 control devices", `device "d" is the inherited file with index -1, but there are 2`,
		"negative UID base",
	} {
		must.ErrorContains(t, err, mistake)
	}
}

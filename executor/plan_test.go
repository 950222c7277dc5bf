// SPDX-License-Identifier: MPL-2.0

package executor

import (
	"testing"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/files"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
)

func TestPlan_CheckReportsEveryMistake(t *testing.T) {
	good := Plan{Version: Version, Task: "a", Dir: "/d", Tender: TenderSPT, Devices: []Device{
		{Name: "disk", Type: unikernel.Block, FD: 1},
		{Name: "control", Type: unikernel.Net, Control: true},
	}}
	must.NoError(t, good.Check(2))
	bad := Plan{
		Version: Version + 1, Dir: "d", Tender: "xen", KernelFD: 9, UIDBase: -1,
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
		"version 4", "no task ID", `"d" is not absolute`, `unknown tender "xen"`, "the kernel is the inherited file with index 9, but there are 2",
		`control device "a" is not a network device`, "2 control devices", `device "d" is the inherited file with index -1, but there are 2`,
		"negative UID base",
	} {
		must.ErrorContains(t, err, mistake)
	}
}

func TestPlan_CheckReportsMistakesInFiles(t *testing.T) {
	device := Device{Name: unikernel.DeviceFiles, Type: unikernel.Net, Files: true}
	server := files.Plan{Version: files.Version, Shares: []files.Share{{FD: 2}}}
	plan := func(f *FilesPlan, devices ...Device) *Plan {
		return &Plan{Version: Version, Task: "a", Dir: "/d", Tender: TenderSPT, Devices: devices, Files: f}
	}
	must.NoError(t, plan(&FilesPlan{ProgramFD: 1, Server: server}, device).Check(3))
	for mistake, bad := range map[string]*Plan{
		"no plan of a file server": plan(nil, device),
		"0 files devices":          plan(&FilesPlan{ProgramFD: 1, Server: server}),
		"2 files devices":          plan(&FilesPlan{ProgramFD: 1, Server: server}, device, device),
		"the file server is the inherited file with index 3, but there are 3": plan(&FilesPlan{ProgramFD: 3, Server: server}, device),
		"0 shares": plan(&FilesPlan{Server: files.Plan{Version: files.Version}}, device),
		"share 0 is the inherited file with index 9": plan(
			&FilesPlan{Server: files.Plan{Version: files.Version, Shares: []files.Share{{FD: 9}}}}, device),
		`files device "files" is not a network device`: plan(&FilesPlan{Server: server},
			Device{Name: "files", Type: unikernel.Block, Files: true}),
		"both a control device and a files device": plan(&FilesPlan{Server: server},
			Device{Name: "files", Type: unikernel.Net, Files: true, Control: true}),
	} {
		err := bad.Check(3)
		must.ErrorIs(t, err, ErrPlan)
		must.ErrorContains(t, err, mistake)
	}
}

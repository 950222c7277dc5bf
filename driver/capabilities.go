// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"github.com/hashicorp/nomad/plugins/drivers"
)

// capabilities is what the driver can do; TestCapabilities holds each of them
// against what the methods do.
//
// Not every field reaches the agent: Nomad's plugin server leaves out
// MountConfigs and DisableLogCollection (plugins/drivers/server.go), so that a
// task with volume mounts arrives at StartTask, which refuses it.
var capabilities = &drivers.Capabilities{
	SendSignals: true,
	// A unikernel is one program: there is nothing to run a command in.
	Exec: false,
	// Nomad shows a task its directories as /local, /alloc and /secrets.
	FSIsolation: drivers.FSIsolationImage,
	NetIsolationModes: []drivers.NetIsolationMode{
		drivers.NetIsolationModeHost,
		drivers.NetIsolationModeGroup,
	},
	MountConfigs: drivers.MountConfigSupportNone,
}

// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"github.com/hashicorp/nomad/plugins/drivers"
)

// capabilities are the abilities of the driver. TestCapabilities compares each of
// them with the methods.
//
// The agent does not see every field: Nomad's plugin server leaves out
// MountConfigs and DisableLogCollection (plugins/drivers/server.go).
var capabilities = &drivers.Capabilities{
	SendSignals: true,
	Exec:        false, // a unikernel is a single program
	// With image isolation, Nomad shows a task its directories as /local, /alloc
	// and /secrets.
	FSIsolation: drivers.FSIsolationImage,
	NetIsolationModes: []drivers.NetIsolationMode{
		drivers.NetIsolationModeHost,
		drivers.NetIsolationModeGroup,
		drivers.NetIsolationModeNone,
	},
	MountConfigs: drivers.MountConfigSupportAll,
}

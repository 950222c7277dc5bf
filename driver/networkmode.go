// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"github.com/hashicorp/nomad/plugins/drivers"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/problems"
)

// A networkMode is the way in which a net device is connected. A job can choose all of them
// but modeHost.
type networkMode string

const (
	modeShared networkMode = "shared" // the guest and its neighbors have the same address
	modeL2     networkMode = "l2"     // the device takes the interface over
	modeHost   networkMode = "host"   // in the host's namespace, by address translation
	modeNone   networkMode = "none"   // leads nowhere
)

// networkModes are the values of network_mode.
var networkModes = []string{auto, string(modeShared), string(modeL2), string(modeNone)}

// netnsOf returns the path of the alloc's network namespace. It returns "" if
// the group uses the host's network.
func netnsOf(task *drivers.TaskConfig) string {
	n := task.NetworkIsolation
	if n == nil || n.Mode != drivers.NetIsolationModeGroup {
		return ""
	}
	return n.Path
}

// mode returns the mode of a task's first device. It is shared for auto, although the host's
// kernel may be unable to share.
func (t *TaskConfig) mode(task *drivers.TaskConfig) networkMode {
	n := task.NetworkIsolation
	switch {
	case t.NetworkMode == string(modeNone) || n != nil && n.Mode == drivers.NetIsolationModeNone:
		return modeNone
	case netnsOf(task) == "":
		return modeHost
	case t.choosesMode():
		return modeShared
	}
	return networkMode(t.NetworkMode)
}

// checkNetworkMode reports options that the group's network cannot fulfill. It is called
// only for kernels with a net device.
func (t *TaskConfig) checkNetworkMode(list *problems.List, plugin *Config, task *drivers.TaskConfig) {
	mode := t.mode(task)
	if mode == modeNone && len(t.Ports) > 0 {
		list.Addf("ports", "cannot be reached without a network: remove ports, or use another network mode")
	}
	if mode != modeHost {
		return
	}
	switch {
	case !plugin.HostNetwork.Enabled:
		list.Addf("network", "the group uses the host's network, which this client forbids to unikernels: "+
			"add network { mode = \"bridge\" } to the group, or set host_network { enabled = true } in the client's plugin config")
	case t.NetworkMode == string(modeShared) || t.NetworkMode == string(modeL2):
		list.Addf("network_mode", "%q needs a network namespace: add network { mode = \"bridge\" } to the group, or remove network_mode",
			t.NetworkMode)
	}
	t.checkHostPorts(list, task)
}

// checkHostPorts reports numbers in ports: only Nomad can reserve a port of the host.
func (t *TaskConfig) checkHostPorts(list *problems.List, task *drivers.TaskConfig) {
	var reported problems.List
	for _, p := range t.servedPorts(&reported, task) {
		if p.label == "" {
			list.Addf("ports", "%q is not a port that Nomad has reserved on this host: add port \"NAME\" { static = %d } "+
				"to the group's network, and use its label", p.text, p.guest.First)
		}
	}
}

// choosesMode reports whether the driver may replace the mode shared by l2.
func (t *TaskConfig) choosesMode() bool { return t.NetworkMode == "" || t.NetworkMode == auto }

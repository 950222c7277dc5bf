// SPDX-License-Identifier: MPL-2.0

package hostcheck

// Options select the subjects of the checks.
type Options struct {
	StateDir  string // required
	CNIPath   string // cni_path of the agent, or "" for its default
	CNIConfig string // cni_config_dir of the agent, or "" for its default

	Registries Registries
}

// Checks returns all checks, grouped. The first group contains the conditions for any task.
func Checks(o Options) []Check {
	state, network := stateDir(o.StateDir), cni{o.CNIPath, o.CNIConfig}
	const (
		machine  = "Host"
		cgroups  = "Control groups"
		disks    = "Root disks"
		networks = "Network"
		nomad    = "Nomad"
	)
	directory := "State directory " + o.StateDir
	checks := []Check{
		{Group: machine, Name: "user", run: checkUser},
		{Group: machine, Name: "kernel", run: checkKernel},
		{Group: machine, Name: "seccomp", run: checkSeccomp},
		{Group: machine, Name: "guest", run: checkGuest},
		{Group: machine, Name: "landlock", run: checkLandlock},
		{Group: machine, Name: "live directories", needsRoot: true, run: checkLiveFiles},
		{Group: machine, Name: "fsgsbase", run: checkFSGSBase},
		{Group: machine, Name: "kvm", run: checkKVM},
		{Group: machine, Name: "ids", run: checkIDs},
		{Group: machine, Name: "clock", run: checkClock},

		{Group: cgroups, Name: "controllers", run: checkCgroups},
		{Group: cgroups, Name: "swap", run: checkSwap},

		{Group: directory, Name: "owner", run: state.checkOwner},
		{Group: directory, Name: "mount", run: state.checkMount},
		{Group: directory, Name: "file system", run: state.checkFileSystem},
		{Group: directory, Name: "space", run: state.checkSpace},
		{Group: directory, Name: "tasks", run: state.checkTasks},
		{Group: directory, Name: "images", run: state.checkCache},

		{Group: disks, Name: "e2fsprogs", run: checkTools},
		{Group: disks, Name: "build", run: checkBuild},

		{Group: networks, Name: "tun", run: checkTun},
		{Group: networks, Name: "connection", needsRoot: true, run: checkConnection},
		{Group: networks, Name: "sharing", needsRoot: true, run: checkSharing},
		{Group: networks, Name: "host network", needsRoot: true, run: checkTranslation},
		{Group: networks, Name: "cni plugins", run: network.checkPlugins},
		{Group: networks, Name: "cni networks", run: network.checkConfig},
		{Group: networks, Name: "iptables", run: checkIPTables},
		{Group: networks, Name: "forwarding", run: checkForwarding},

		{Group: nomad, Name: "agent", run: checkAgent},
		{Group: nomad, Name: "driver", run: checkPlugin},
		{Group: nomad, Name: "proxies", run: checkProxies},
	}
	return append(checks, o.Registries.checks("Registries")...)
}

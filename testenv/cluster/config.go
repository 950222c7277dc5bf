// SPDX-License-Identifier: MPL-2.0

package cluster

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv/sandbox"
)

// SecondNetwork is the host_network of the agents whose address is
// sandbox.SecondAddress.
const SecondNetwork = "second"

// Volume is the host volume of each agent. Any user may write to it.
const Volume = "data"

// VolumeDir returns the directory of the host volume.
func (n *Nomad) VolumeDir() string { return filepath.Join(n.Dir, "volume") }

// config returns the agent's configuration. Several agents share the sandbox, so
// each has its own ports, directories and bridge.
func (n *Nomad) config() string {
	return n.agentConfig() + n.clientConfig() + n.pluginConfig()
}

func (n *Nomad) agentConfig() string {
	http := port(n.options.Index)
	var b strings.Builder
	fmt.Fprintf(&b, `
name                 = %q
log_level            = "DEBUG"
disable_update_check = true
plugin_dir           = %q

# The tests make more connections than the default allows to one client.
limits {
  http_max_conns_per_client = 0
}

ports {
  http = %d
  rpc  = %d
  serf = %d
}
`, n.options.Name, filepath.Join(n.Dir, "plugins"), http, http+1, http+2)
	if n.options.Server == nil {
		b.WriteString(`
# A client that a test restarts on a busy machine must not count as lost.
server {
  heartbeat_grace = "2m"
}
`)
	} else {
		fmt.Fprintf(&b, `
data_dir  = %q
bind_addr = "127.0.0.1"

advertise {
  http = "127.0.0.1"
  rpc  = "127.0.0.1"
}
`, filepath.Join(n.Dir, "data"))
	}
	return b.String()
}

func (n *Nomad) clientConfig() string {
	index, server := n.options.Index, ""
	if n.options.Server != nil {
		server = fmt.Sprintf("  node_pool = %q\n  servers   = [\"127.0.0.1:%d\"]\n",
			n.Pool, port(n.options.Server.options.Index)+1)
	}
	return fmt.Sprintf(`
client {
  enabled               = true
  alloc_dir             = %q
  network_interface     = %q
  cni_path              = %q
  cni_config_dir        = %q
  bridge_network_name   = "nomad%d"
  bridge_network_subnet = "172.26.%d.0/20"

  options = {
    # These wait for a cloud's metadata service, which the sandbox does not have.
    "fingerprint.denylist" = "env_aws,env_gce,env_azure,env_digitalocean"
  }

  # A port with host_network = %q has this address.
  host_network %q {
    interface = %q
  }

  host_volume %q {
    path = %q
  }
%s}
`, filepath.Join(n.Dir, "data", "alloc"), sandbox.Link, n.cniPath(), filepath.Join(n.Dir, "cni"), index, 64+16*index,
		SecondNetwork, SecondNetwork, sandbox.SecondLink, Volume, n.VolumeDir(), n.hostVolumes()+server)
}

func (n *Nomad) hostVolumes() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(n.options.HostVolumes)) {
		fmt.Fprintf(&b, "  host_volume %q {\n    path = %q\n  }\n", name, n.options.HostVolumes[name])
	}
	return b.String()
}

// cniPath returns the directories of CNI plugins.
func (n *Nomad) cniPath() string {
	if n.options.CNIPath == "" {
		return n.tools.CNI
	}
	return n.tools.CNI + ":" + n.options.CNIPath
}

func (n *Nomad) pluginConfig() string {
	return fmt.Sprintf(`
plugin %q {
  config {
    state_dir   = %q
    image_paths = [%q]
    %s
  }
}

plugin "raw_exec" {
  config {
    enabled = true
  }
}
`, filepath.Base(n.tools.Plugin), n.StateDir, n.tools.Guests, n.options.PluginConfig)
}

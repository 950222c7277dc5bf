// SPDX-License-Identifier: MPL-2.0

package cluster

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv/sandbox"
)

// config returns the agent's configuration. Several agents share the sandbox, so
// each has its own ports, directories and bridge.
func (n *Nomad) config() string {
	rpc := port(n.options.Index) + 1
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

client {
  enabled               = true
  network_interface     = %q
  cni_path              = %q
  cni_config_dir        = %q
  bridge_network_name   = "nomad%d"
  bridge_network_subnet = "172.26.%d.0/20"

  options = {
    # These wait for a cloud's metadata service, which the sandbox does not have.
    "fingerprint.denylist" = "env_aws,env_gce,env_azure,env_digitalocean"
  }
`,
		n.options.Name, filepath.Join(n.Dir, "plugins"), rpc-1, rpc, rpc+1,
		sandbox.Link, n.tools.CNI, filepath.Join(n.Dir, "cni"), n.options.Index, 64+16*n.options.Index)
	if n.options.Server != nil {
		fmt.Fprintf(&b, "  node_pool = %q\n  servers   = [\"127.0.0.1:%d\"]\n",
			n.Pool, port(n.options.Server.options.Index)+1)
	}
	b.WriteString("}\n")
	if n.options.Server != nil {
		fmt.Fprintf(&b, "\ndata_dir  = %q\nbind_addr = \"127.0.0.1\"\n\nadvertise {\n  http = \"127.0.0.1\"\n  rpc  = \"127.0.0.1\"\n}\n",
			filepath.Join(n.Dir, "data"))
	}
	fmt.Fprintf(&b, `
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
	return b.String()
}

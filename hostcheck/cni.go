// SPDX-License-Identifier: MPL-2.0

package hostcheck

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

const (
	// defaultCNIPath and defaultCNIConfig are the defaults of cni_path and cni_config_dir
	// in the agent's configuration.
	defaultCNIPath   = "/opt/cni/bin"
	defaultCNIConfig = "/opt/cni/config"
	// debianCNIPath is the directory of Debian's package.
	debianCNIPath = "/usr/lib/cni"
	installCNI    = "apt-get install containernetworking-plugins"
	setCNIPath    = `add cni_path = "` + debianCNIPath + `" to the client block of the agent's configuration`
)

// bridgePlugins are the CNI plugins of Nomad's network mode "bridge".
var bridgePlugins = []string{"loopback", "bridge", "host-local", "firewall", "portmap"}

// cni makes the checks of the CNI plugins. The empty strings stand for the defaults.
type cni struct{ path, config string }

// checkPlugins asks each plugin for its versions of CNI.
func (c cni) checkPlugins(ctx context.Context) Finding {
	dir := c.path
	if dir == "" {
		dir = defaultCNIPath
	}
	if _, err := os.Stat(dir); err != nil && c.path == "" {
		return missingPlugins(dir)
	} else if err != nil {
		return warning(installCNI+"\n"+setCNIPath, "bridge networks do not work: %v", err)
	}
	var missing, found []string
	for _, name := range bridgePlugins {
		version, err := pluginVersion(ctx, filepath.Join(dir, name))
		if err != nil {
			missing = append(missing, err.Error())
			continue
		}
		if !slices.Contains(found, version) {
			found = append(found, version)
		}
	}
	if missing != nil {
		return warning(installCNI+"\n"+setCNIPath, "bridge networks do not work: %s", strings.Join(missing, "; "))
	}
	return ok("%s: %s with CNI %s", dir, strings.Join(bridgePlugins, ", "), strings.Join(found, ", "))
}

// missingPlugins reports that the default directory does not exist. The agent's cni_path is
// not known: it is in the agent's configuration or on its command line.
func missingPlugins(dir string) Finding {
	const otherPath = "if the agent has another cni_path, check it with --cni-path DIR"
	if _, err := os.Stat(debianCNIPath); err == nil {
		return warning(setCNIPath, "the plugins are in %s, but Nomad looks in %s by default; %s", debianCNIPath, dir, otherPath)
	}
	return warning(installCNI+"\n"+setCNIPath, "bridge networks do not work without CNI plugins, and %s does not exist; %s", dir, otherPath)
}

// pluginVersion returns the newest version of the CNI specification that a plugin supports.
func pluginVersion(ctx context.Context, path string) (string, error) {
	cmd := exec.CommandContext(ctx, path)
	cmd.Env = []string{"CNI_COMMAND=VERSION"}
	cmd.Stdin = strings.NewReader(`{"cniVersion":"1.0.0"}`)
	cmd.WaitDelay = waitDelay
	output, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("run %s: %w", path, err)
	}
	var answer struct {
		Supported []string `json:"supportedVersions"`
	}
	if err := json.Unmarshal(output, &answer); err != nil || len(answer.Supported) == 0 {
		return "", fmt.Errorf("run %s: the output contains no supportedVersions: %s", path, firstLine(output))
	}
	return answer.Supported[len(answer.Supported)-1], nil
}

// checkConfig reads the networks of the configuration directory as Nomad does.
func (c cni) checkConfig(context.Context) Finding {
	dir := c.config
	if dir == "" {
		dir = defaultCNIConfig
	}
	entries, err := readDir(dir)
	if err != nil {
		return skipped("%v", err)
	}
	var names, wrong []string
	for _, e := range entries {
		if !slices.Contains([]string{".conf", ".conflist", ".json"}, filepath.Ext(e.Name())) {
			continue
		}
		name, err := networkName(filepath.Join(dir, e.Name()))
		if err != nil {
			wrong = append(wrong, err.Error())
			continue
		}
		names = append(names, "cni/"+name)
	}
	switch {
	case wrong != nil:
		return warning("", "Nomad ignores networks: %s", strings.Join(wrong, "; "))
	case names == nil:
		return info("no networks in %s; only jobs with mode = \"cni/NAME\" need them", dir)
	}
	return ok("%s: %s", dir, strings.Join(names, ", "))
}

func networkName(path string) (string, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	var network struct {
		Name string `json:"name"`
	}
	if err := json.Unmarshal(content, &network); err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	if network.Name == "" {
		return "", fmt.Errorf("%s: the name is missing", path)
	}
	return network.Name, nil
}

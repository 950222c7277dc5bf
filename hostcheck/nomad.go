// SPDX-License-Identifier: MPL-2.0

package hostcheck

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// pluginName is the file name of the driver's program.
const pluginName = "nomad-driver-lkl"

// waitDelay limits the wait for the output of a program that was stopped.
const waitDelay = time.Second

// A process is a running program of interest.
type process struct {
	pid   int
	uid   int
	args  []string
	stale bool // its file has been replaced or removed
}

// findProcesses returns the processes whose first argument ends in a name.
func findProcesses(name string) []process {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline") // the pattern is valid
	var found []process
	for _, file := range files {
		content, err := os.ReadFile(file)
		args := strings.Split(strings.TrimRight(string(content), "\x00"), "\x00")
		if err != nil || filepath.Base(args[0]) != name {
			continue
		}
		dir := filepath.Dir(file)
		p := process{args: args}
		if p.pid, err = strconv.Atoi(filepath.Base(dir)); err != nil {
			continue
		}
		info, err := os.Stat(dir)
		if err != nil {
			continue // it has ended
		}
		if stat, ok := info.Sys().(*syscall.Stat_t); ok {
			p.uid = int(stat.Uid)
		}
		program, err := os.Readlink(filepath.Join(dir, "exe")) // needs root for other users
		p.stale = err == nil && strings.HasSuffix(program, " (deleted)")
		found = append(found, p)
	}
	return found
}

func findAgents() []process {
	return slices.DeleteFunc(findProcesses("nomad"), func(p process) bool { return !slices.Contains(p.args, "agent") })
}

func checkAgent(ctx context.Context) Finding {
	agents := findAgents()
	if len(agents) == 0 {
		return info("no agent runs%s", nomadVersion(ctx))
	}
	var text []string
	for _, a := range agents {
		if a.uid != 0 {
			return failed("", "the agent, process %d, runs as user %d: the driver needs an agent that runs as root", a.pid, a.uid)
		}
		text = append(text, fmt.Sprintf("the agent runs as process %d", a.pid))
	}
	return ok("%s%s", strings.Join(text, ", "), nomadVersion(ctx))
}

// nomadVersion returns the version of the program on the PATH. The agent's own program may
// belong to another user, so it is not run.
func nomadVersion(ctx context.Context) string {
	path, err := findTool("nomad")
	if err != nil {
		return "; nomad is not on the PATH"
	}
	cmd := exec.CommandContext(ctx, path, "version")
	cmd.WaitDelay = waitDelay
	output, err := cmd.Output()
	if err != nil {
		return fmt.Sprintf("; %s version: %v", path, err)
	}
	return fmt.Sprintf("; %s is %s", path, firstLine(output))
}

// checkPlugin looks for the driver's process. Nomad starts it only when the configuration
// has a plugin block for it.
func checkPlugin(context.Context) Finding {
	if len(findAgents()) == 0 {
		return skipped("no agent runs")
	}
	plugins := slices.DeleteFunc(findProcesses(pluginName), func(p process) bool { return len(p.args) > 1 })
	if len(plugins) == 0 {
		return warning("systemctl restart nomad, after adding plugin \""+pluginName+"\" {} to the agent's configuration",
			"the agent does not run the driver: put %s into the agent's plugin_dir", pluginName)
	}
	for _, p := range plugins {
		if p.stale {
			return warning("systemctl restart nomad", "the driver %d runs from a file that was replaced: "+
				"the new version runs after a restart of the agent, and tasks go on", p.pid)
		}
	}
	return ok("the driver runs as process %d", plugins[0].pid)
}

var proxyVariables = []string{"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"}

// checkProxies reports the proxies through which the driver reaches registries: those in
// the agent's environment. It hides passwords.
func checkProxies(context.Context) Finding {
	owner, environment := "this shell", os.Environ()
	if agents := findAgents(); len(agents) > 0 {
		content, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", agents[0].pid))
		if err != nil {
			return skipped("the agent's environment: %v", err)
		}
		owner, environment = "the agent", strings.Split(string(content), "\x00")
	}
	var found []string
	for _, entry := range environment {
		name, value, _ := strings.Cut(entry, "=")
		if slices.Contains(proxyVariables, name) && value != "" {
			found = append(found, name+"="+redact(value))
		}
	}
	if found == nil {
		return info("%s has no proxies in its environment", owner)
	}
	return info("of %s: %s", owner, strings.Join(found, " "))
}

// redact hides the user and the password of a URL.
func redact(value string) string {
	if !strings.Contains(value, "@") {
		return value
	}
	if u, err := url.Parse(value); err == nil && u.User != nil {
		u.User = url.User("xxxxx")
		return u.String()
	}
	return "(not shown, because it contains a password)"
}

// findTool searches PATH, and the directories for system tools, which the PATH of an
// ordinary user on Debian does not contain.
func findTool(name string) (string, error) {
	path, err := exec.LookPath(name)
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if err == nil {
			break
		}
		path, err = exec.LookPath(filepath.Join(dir, name))
	}
	return path, err
}

// firstLine returns the first line of a program's output, at most 200 bytes of it.
func firstLine(output []byte) string {
	const limit = 200
	line, _, _ := strings.Cut(strings.TrimSpace(string(output)), "\n")
	return strings.ToValidUTF8(line[:min(len(line), limit)], "?")
}

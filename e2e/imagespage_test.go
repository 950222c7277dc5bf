// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

var (
	// shellBlock matches a block of shell commands, which may be part of a list.
	shellBlock = regexp.MustCompile("(?ms)^( *)```sh\n(.*?)^ *```$")
	// buildLine matches the commands that build the tree.
	buildLine = regexp.MustCompile(`(?m)^(make|scripts/setup) .*\n`)
	// agentLine matches the command that starts an agent.
	agentLine = regexp.MustCompile(`(?m)^nomad agent .*\n`)
)

// pageCommands returns the shell commands of a section of a page of docs, in order.
func pageCommands(t *testing.T, page, section string) []string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(tree(), "docs", page))
	must.NoError(t, err)
	_, text, found := strings.Cut(string(content), "\n## "+section+"\n")
	must.True(t, found)
	text, _, _ = strings.Cut(text, "\n##")
	var commands []string
	for _, m := range shellBlock.FindAllStringSubmatch(text, -1) {
		commands = append(commands, strings.ReplaceAll("\n"+m[2], "\n"+m[1], "\n"))
	}
	return commands
}

// tree returns the root of the source tree.
func tree() string { return filepath.Dir(filepath.Dir(tools.Jobs)) }

// A new user reads nothing else. The test only skips the builds, which make has done, and
// the start of an agent, which main_test.go has done.
func TestImagesPage_LeadsFromACProgramToItsOutput(t *testing.T) {
	needRootAndTun(t)
	t.Parallel()
	dir := t.TempDir()
	must.NoError(t, os.Symlink(filepath.Join(tree(), "build"), filepath.Join(dir, "build")))
	commands := pageCommands(t, "images.md", "Build an image from a C program")
	must.Greater(t, 3, len(commands))
	commands[0] = buildLine.ReplaceAllString(commands[0], "")
	last := len(commands) - 1

	run := func(script string) (string, error) {
		script = strings.ReplaceAll(script, publicHost, pageHost) // port 5000 is in use here
		cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", script)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "NOMAD_ADDR="+nomad.Address, "PATH="+filepath.Dir(tools.Nomad)+":"+os.Getenv("PATH"))
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		out, err := cmd.CombinedOutput()
		t.Cleanup(func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }) // the page's registry goes on
		return string(out), err
	}
	out, err := run(agentLine.ReplaceAllString(strings.Join(commands[:last], ""), "nomad fmt -check agent.hcl\n"))
	must.NoError(t, err, must.Sprint(out))
	config, err := os.ReadFile(filepath.Join(dir, "greet", "agent.hcl"))
	must.NoError(t, err)
	must.StrContains(t, string(config), `cni_path = "`+filepath.Join(dir, "build", "tools", "cni")+`"`)
	t.Cleanup(func() {
		_, _, err := nomad.API.Jobs().Deregister("greet", true, nil)
		must.NoError(t, err)
	})
	allocs.addJob(t, "greet")
	must.Wait(t, testenv.EventuallyTrue(func() bool {
		out, err = run(commands[last])
		return err == nil && strings.Contains(out, "reader, good morning")
	}), must.Sprint(out))
}

// addJob adds the allocs of a job that a test has not started with start.
func (i *ids) addJob(t *testing.T, id string) {
	t.Helper()
	must.Wait(t, testenv.EventuallyTrue(func() bool {
		stubs, _, err := nomad.API.Jobs().Allocations(id, true, nil)
		must.NoError(t, err)
		for _, stub := range stubs {
			i.add(stub.ID)
		}
		return len(stubs) > 0
	}))
}

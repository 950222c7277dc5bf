// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bufio"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/nomad/plugins/base"
	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// After its agent was killed, the plugin's stdout and stderr are broken pipes. The
// next agent attaches to the same plugin and uses it.
func TestPlugin_SurvivesItsAgentAndServesTheNextOne(t *testing.T) {
	testenv.Need(t, testenv.Root)
	stateDir := t.TempDir()
	orphan := startOrphan(t)
	task, lines := newTask(t, "spew.spt", "every=20000000", "width=32")

	first := reattach(t, orphan)
	first.configure(t, stateDir) // writes to the log, as the later calls do
	fingerprints, err := first.driver.Fingerprint(t.Context())
	must.NoError(t, err)
	must.Eq(t, drivers.HealthStateHealthy, testenv.Receive(t, fingerprints).Health)
	handle, _, err := first.driver.StartTask(task)
	must.NoError(t, err)
	lines.requireMore(t)

	second := reattach(t, orphan)
	must.NoError(t, second.driver.RecoverTask(handle))
	must.NoError(t, second.driver.StopTask(task.ID, time.Minute, ""))
	must.NoError(t, second.driver.DestroyTask(task.ID, false))
	must.Eq(t, orphan.Pid, first.client.ReattachConfig().Pid)
	must.False(t, first.client.Exited())
}

// startOrphan starts the plugin as an agent does, and closes the read ends of its
// output.
func startOrphan(t *testing.T) *plugin.ReattachConfig {
	cmd := exec.Command(testenv.Plugin(t))
	cmd.Env = append(os.Environ(), "PLUGIN_PROTOCOL_VERSIONS=2",
		base.Handshake.MagicCookieKey+"="+base.Handshake.MagicCookieValue)
	stdout, err := cmd.StdoutPipe()
	must.NoError(t, err)
	stderr, err := cmd.StderrPipe()
	must.NoError(t, err)
	must.NoError(t, cmd.Start())
	ended := make(chan struct{})
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // the plugin may have ended, which has failed the test
		<-ended
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	must.NoError(t, err)
	fields := strings.Split(strings.TrimSpace(line), "|")
	must.GreaterEq(t, 5, len(fields), must.Sprint(line))
	must.NoError(t, stdout.Close())
	must.NoError(t, stderr.Close())
	go func() {
		_ = cmd.Wait() // reports the kill
		close(ended)
	}()
	return &plugin.ReattachConfig{
		Protocol: plugin.ProtocolGRPC,
		Addr:     &net.UnixAddr{Net: fields[2], Name: fields[3]},
		Pid:      cmd.Process.Pid,
	}
}

func reattach(t *testing.T, to *plugin.ReattachConfig) *process {
	client := plugin.NewClient(clientConfig(t, func(c *plugin.ClientConfig) { c.Reattach = to }))
	return &process{client: client, driver: dispense[drivers.DriverPlugin](t, client, base.PluginTypeDriver)}
}

// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"path/filepath"
	"testing"

	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/nomad/client/allocdir"
	"github.com/hashicorp/nomad/client/logmon"
	"github.com/hashicorp/nomad/helper/testlog"
	"github.com/hashicorp/nomad/helper/uuid"
	"github.com/hashicorp/nomad/plugins/base"
	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"
)

// serve returns a client of the driver, which it serves through Nomad's gRPC
// protocol in this process until the test ends. It takes the place of Nomad's
// plugins/drivers/testutils, which version 1.6 has for an older go-plugin.
func serve(t *testing.T, d *Driver) drivers.DriverPlugin {
	client, _ := plugin.TestPluginGRPCConn(t, false, map[string]plugin.Plugin{
		base.PluginTypeDriver: drivers.NewDriverPlugin(d, testlog.HCLogger(t)),
		base.PluginTypeBase:   &base.PluginBase{Impl: d},
	})
	t.Cleanup(func() { _ = client.Close() })
	raw, err := client.Dispense(base.PluginTypeDriver)
	must.NoError(t, err)
	return raw.(drivers.DriverPlugin)
}

// makeAllocDir makes the directories of a task as a Nomad client does. With
// logs, Nomad's logmon collects the task's console until the test ends.
func makeAllocDir(t *testing.T, task *drivers.TaskConfig, logs bool) {
	log := testlog.HCLogger(t)
	alloc := allocdir.NewAllocDir(log, t.TempDir(), task.AllocID)
	must.NoError(t, alloc.Build())
	t.Cleanup(func() { _ = alloc.Destroy() })
	dir := alloc.NewTaskDir(task.Name)
	must.NoError(t, dir.Build(false, nil))
	task.AllocDir = alloc.AllocDir
	task.Env["NOMAD_ALLOC_DIR"] = allocdir.SharedAllocContainerPath
	task.Env["NOMAD_TASK_DIR"] = allocdir.TaskLocalContainerPath
	task.Env["NOMAD_SECRETS_DIR"] = allocdir.TaskSecretsContainerPath
	if !logs {
		return
	}
	collectLogs(t, task)
}

// collectLogs makes a logmon collect the console of the next start of a task.
func collectLogs(t *testing.T, task *drivers.TaskConfig) {
	dir, start := task.TaskDir().LogDir, uuid.Short()
	task.StdoutPath = filepath.Join(dir, "."+start+".stdout.fifo")
	task.StderrPath = filepath.Join(dir, "."+start+".stderr.fifo")
	collector := logmon.NewLogMon(testlog.HCLogger(t))
	must.NoError(t, collector.Start(&logmon.LogConfig{
		LogDir: dir, MaxFiles: 10, MaxFileSizeMB: 10,
		StdoutLogFile: task.Name + ".stdout", StdoutFifo: task.StdoutPath,
		StderrLogFile: task.Name + ".stderr", StderrFifo: task.StderrPath,
	}))
	t.Cleanup(func() { _ = collector.Stop() })
}

// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"io"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/version"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// No capability may promise an operation that a method refuses.
func TestCapabilities_MatchTheMethods(t *testing.T) {
	p := newTestPlugin(t)
	caps, err := p.impl.Capabilities()
	must.NoError(t, err)
	task, _ := p.run(t, TaskConfig{Kernel: "control.spt"})

	t.Run("signals", func(t *testing.T) {
		must.True(t, caps.SendSignals)
		must.NoError(t, p.SignalTask(task.ID, "SIGUSR2"))
		waitFor(t, "the signal", func() bool { return strings.Contains(console(task), "signal 12") })
	})
	t.Run("exec", func(t *testing.T) {
		must.False(t, caps.Exec)
		result, err := p.ExecTask(task.ID, []string{"true"}, time.Second)
		must.NoError(t, err)
		must.StrContains(t, string(result.Stdout), "cannot run a command")
		must.Eq(t, cannotExecute, result.ExitResult.ExitCode)
		output := &execStream{}
		streaming := p.DriverPlugin.(drivers.ExecTaskStreamingRawDriver)
		must.NoError(t, streaming.ExecTaskStreamingRaw(t.Context(), task.ID, []string{"true"}, false, output))
		must.StrContains(t, output.stderr, "cannot run a command")
		must.Eq(t, cannotExecute, output.code)
	})
	t.Run("file system", func(t *testing.T) {
		must.Eq(t, drivers.FSIsolationImage, caps.FSIsolation)
		// Image isolation decides the values of Nomad's variables.
		must.Eq(t, "/local", task.Env["NOMAD_TASK_DIR"])
		must.Eq(t, "/secrets", task.Env["NOMAD_SECRETS_DIR"])
		must.Eq(t, "/alloc", task.Env["NOMAD_ALLOC_DIR"])
		for _, dir := range taskDirNames {
			must.NoError(t, checkJobPath("/"+dir+"/file"))
		}
	})
	t.Run("network", func(t *testing.T) {
		must.Eq(t, []drivers.NetIsolationMode{
			drivers.NetIsolationModeHost, drivers.NetIsolationModeGroup, drivers.NetIsolationModeNone,
		}, caps.NetIsolationModes)
		must.False(t, caps.MustInitiateNetwork)
		_, manages := any(p.impl).(drivers.DriverNetworkManager)
		must.False(t, manages)
	})
	t.Run("logs", func(t *testing.T) {
		must.False(t, caps.DisableLogCollection)
		waitFor(t, "console output", func() bool { return strings.Contains(console(task), "waiting") })
	})
}

func TestCapabilities_StartRefusesTheRest(t *testing.T) {
	p := newTestPlugin(t)
	caps, err := p.impl.Capabilities()
	must.NoError(t, err)
	task := p.task(t, TaskConfig{Kernel: "control.spt"}, false)

	t.Run("mounts", func(t *testing.T) { // of other guests than Linux
		must.Eq(t, drivers.MountConfigSupportAll, caps.MountConfigs)
		mounting := task.Copy()
		mounting.ID += "x"
		mounting.Mounts = []*drivers.MountConfig{{TaskPath: "/data", HostPath: "/tmp"}}
		_, _, err := p.StartTask(mounting)
		must.ErrorContains(t, err, "volume_mount: /data is only supported by guests of flavor lkl")
	})
	t.Run("devices", func(t *testing.T) {
		other := task.Copy()
		other.ID += "x"
		other.Devices = []*drivers.DeviceConfig{{HostPath: "/dev/null", TaskPath: "/dev/null"}}
		_, _, err := p.StartTask(other)
		must.ErrorContains(t, err, "device: /dev/null cannot be used by a unikernel")
	})
	t.Run("users", func(t *testing.T) {
		other := task.Copy()
		other.ID += "x"
		other.User = "nobody"
		_, _, err := p.StartTask(other)
		must.ErrorContains(t, err, "user: ")
	})
}

// An execStream is a client of a command, without input.
type execStream struct {
	stderr string
	code   int
}

func (s *execStream) Send(m *drivers.ExecTaskStreamingResponseMsg) error {
	s.stderr += string(m.GetStderr().GetData())
	if m.GetExited() {
		s.code = int(m.GetResult().GetExitCode())
	}
	return nil
}

func (s *execStream) Recv() (*drivers.ExecTaskStreamingRequestMsg, error) { return nil, io.EOF }

func TestPluginInfo(t *testing.T) {
	info, err := testDriver(t).PluginInfo()
	must.NoError(t, err)
	must.Eq(t, "driver", info.Type)
	must.Eq(t, "lkl", info.Name)
	must.Eq(t, []string{drivers.ApiVersion010}, info.PluginApiVersions)
	must.Eq(t, version.Version, info.PluginVersion)
}

func TestFingerprint_OnThisHost(t *testing.T) {
	p := newTestPlugin(t)
	ch, err := p.Fingerprint(t.Context())
	must.NoError(t, err)
	f := testenv.Receive(t, ch)
	must.NoError(t, f.Err)
	must.Eq(t, drivers.HealthStateHealthy, f.Health, must.Sprint(f.HealthDescription))
	must.Eq(t, "true", f.Attributes["driver.lkl.spt"].GoString())
}

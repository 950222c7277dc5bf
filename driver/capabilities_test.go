// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"io"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"
)

// Each capability is held against what the methods do, so that none promises
// what the driver refuses.
func TestCapabilities_AreWhatTheDriverDoes(t *testing.T) {
	b := newBed(t)
	caps, err := b.impl.Capabilities()
	must.NoError(t, err)
	task, _ := b.run(t, TaskConfig{Kernel: "control.spt"})

	t.Run("signals", func(t *testing.T) {
		must.True(t, caps.SendSignals)
		must.NoError(t, b.SignalTask(task.ID, "SIGUSR2"))
		eventually(t, "the signal", func() bool { return strings.Contains(console(task), "signal 12") })
	})
	t.Run("exec", func(t *testing.T) {
		must.False(t, caps.Exec)
		_, err := b.ExecTask(task.ID, []string{"true"}, time.Second)
		must.ErrorContains(t, err, "cannot run a command")
		said := &execStream{}
		streaming := b.DriverPlugin.(drivers.ExecTaskStreamingRawDriver)
		must.NoError(t, streaming.ExecTaskStreamingRaw(t.Context(), task.ID, []string{"true"}, false, said))
		must.StrContains(t, said.stderr, "cannot run a command")
		must.Eq(t, cannotExecute, said.code)
	})
	t.Run("file system", func(t *testing.T) {
		must.Eq(t, drivers.FSIsolationImage, caps.FSIsolation)
		// What that stands for is where Nomad's variables lead.
		must.Eq(t, "/local", task.Env["NOMAD_TASK_DIR"])
		must.Eq(t, "/secrets", task.Env["NOMAD_SECRETS_DIR"])
		must.Eq(t, "/alloc", task.Env["NOMAD_ALLOC_DIR"])
		for _, dir := range taskDirNames {
			must.NoError(t, checkJobPath("/"+dir+"/file"))
		}
	})
	t.Run("network", func(t *testing.T) {
		must.Eq(t, []drivers.NetIsolationMode{drivers.NetIsolationModeHost, drivers.NetIsolationModeGroup}, caps.NetIsolationModes)
		must.False(t, caps.MustInitiateNetwork)
		_, manages := any(b.impl).(drivers.DriverNetworkManager)
		must.False(t, manages)
	})
	t.Run("mounts", func(t *testing.T) {
		must.Eq(t, drivers.MountConfigSupportNone, caps.MountConfigs)
		mounting := task.Copy()
		mounting.ID += "x"
		mounting.Mounts = []*drivers.MountConfig{{TaskPath: "/data", HostPath: "/tmp"}}
		_, _, err := b.StartTask(mounting)
		must.ErrorContains(t, err, "volume_mount: /data")
	})
	t.Run("logs", func(t *testing.T) {
		must.False(t, caps.DisableLogCollection)
		must.StrContains(t, console(task), "waiting")
	})
	t.Run("users", func(t *testing.T) {
		other := task.Copy()
		other.ID += "x"
		other.User = "nobody"
		_, _, err := b.StartTask(other)
		must.ErrorContains(t, err, "user: ")
	})
}

// execStream is the client's side of a command, without input.
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
	must.Eq(t, Version, info.PluginVersion)
}

func TestFingerprint_OfThisMachine(t *testing.T) {
	b := newBed(t)
	ch, err := b.Fingerprint(t.Context())
	must.NoError(t, err)
	select {
	case f := <-ch:
		must.NoError(t, f.Err)
		must.Eq(t, drivers.HealthStateHealthy, f.Health, must.Sprint(f.HealthDescription))
		must.Eq(t, "true", f.Attributes["driver.lkl.spt"].GoString())
	case <-time.After(patience):
		t.Fatal("no fingerprint")
	}
}

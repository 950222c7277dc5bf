// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/hashicorp/nomad/nomad/structs"
	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// A stalledPull is a start whose registry sends no layer.
type stalledPull struct {
	plugin   *testPlugin
	server   *imageServer
	task     *drivers.TaskConfig
	result   chan error    // of StartTask
	canceled chan struct{} // closed when the client has closed its connection
}

// stall begins a start, and returns when the registry has received the request for a layer.
func stall(t *testing.T, config Config, job TaskConfig) *stalledPull {
	testenv.Need(t, testenv.Root)
	s := newImageServer(t)
	stalled := &stalledPull{server: s, result: make(chan error, 1), canceled: make(chan struct{})}
	job.Image = s.push(t, "hello:1.0", guestImage(t, "hello.spt", "", v1.Config{}))
	asked := make(chan struct{})
	blobs := 0
	s.answerWith(func(_ http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/blobs/") {
			return false
		}
		if blobs++; blobs == 1 { // the config
			return false
		}
		close(asked)
		<-r.Context().Done()
		close(stalled.canceled)
		return true
	})
	common := s.config(t)
	config.StateDir, config.Registries = common.StateDir, common.Registries
	stalled.plugin = newTestPluginWith(t, config)
	stalled.task = stalled.plugin.task(t, job, true)
	go func() { stalled.result <- stalled.plugin.start(stalled.task) }()
	testenv.Receive(t, asked)
	return stalled
}

// checkUndone checks that the pull has ended, and that another start works.
func (s *stalledPull) checkUndone(t *testing.T, p *testPlugin) {
	t.Helper()
	testenv.Receive(t, s.canceled)
	must.DirNotExists(t, taskDirPath(p.config.StateDir, s.task.ID))
	waitFor(t, "the end of the build", func() bool {
		left, err := os.ReadDir(filepath.Join(imagesDir(p.config.StateDir), "builds"))
		return err == nil && len(left) == 0
	})
	s.server.answerWith(nil)
	must.NoError(t, p.start(s.task))
}

func TestStop_CancelsAPull(t *testing.T) {
	for name, stop := range map[string]func(p *testPlugin, id string) error{
		"stop":    func(p *testPlugin, id string) error { return p.StopTask(id, time.Minute, "") },
		"destroy": func(p *testPlugin, id string) error { return p.DestroyTask(id, true) },
	} {
		t.Run(name, func(t *testing.T) {
			s := stall(t, Config{}, TaskConfig{})
			must.NoError(t, stop(s.plugin, s.task.ID))
			err := testenv.Receive(t, s.result)
			must.ErrorContains(t, err, errStopped.Error())
			must.True(t, structs.IsRecoverable(err))
			s.checkUndone(t, s.plugin)
		})
	}
}

func TestStart_ThePullEndsWithThePlugin(t *testing.T) {
	s := stall(t, Config{}, TaskConfig{})
	next := s.plugin.restart(t)
	must.Error(t, testenv.Receive(t, s.result))
	s.checkUndone(t, next)
}

func TestImage_PullEndsAtItsTimeout(t *testing.T) {
	s := stall(t, Config{}, TaskConfig{ImagePullTimeout: "1s"})
	err := testenv.Receive(t, s.result)
	must.ErrorContains(t, err, "image_pull_timeout (1s)")
	must.True(t, structs.IsRecoverable(err))
	s.checkUndone(t, s.plugin)
}

// The pull goes on when start_timeout is over, which limits the other steps alone.
func TestImage_ThePullDoesNotCountIntoTheStartTimeout(t *testing.T) {
	const limit = time.Second
	s := stall(t, Config{StartTimeout: limit.String()}, TaskConfig{ImagePullTimeout: "2s"})
	err := testenv.Receive(t, s.result)
	must.ErrorContains(t, err, "image_pull_timeout (2s)")
}

func TestStartTimer_StandsStillWhilePaused(t *testing.T) {
	d := testDriver(t)
	d.config.StartTimeout = "20ms"
	ctx, timer, cancel := d.startContext()
	defer cancel()
	resume := timer.pause()
	waitFor(t, "the deadline to pass", func() bool { return time.Now().After(timer.ends) })
	must.NoError(t, ctx.Err())
	resume()
	<-ctx.Done()
	must.ErrorContains(t, canceledError(ctx, nil), "start_timeout")
}

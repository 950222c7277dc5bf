// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"syscall"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/hashicorp/nomad/nomad/structs"
	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"
)

// imageTask prepares a task with an image and a network.
func (p *testPlugin) imageTask(t *testing.T, job TaskConfig) *drivers.TaskConfig {
	t.Helper()
	task := p.task(t, job, true)
	task.NetworkIsolation = newTestNetwork(t).spec()
	task.Env["NOMAD_ALLOC_ID"] = task.AllocID
	return task
}

func TestImage_FollowsDockersRules(t *testing.T) {
	p, s := newImagePlugin(t)
	tag := s.push(t, "signals:1.0", linuxImage(t, "signals.c", v1.Config{
		Entrypoint: []string{"/guest.spt", "first"}, Cmd: []string{"of the image"},
		Env: []string{"NOMAD_ALLOC_ID=hidden", "TZ=UTC"}, WorkingDir: "/srv", User: "www", StopSignal: "SIGUSR1",
		ExposedPorts: map[string]struct{}{"80/tcp": {}},
	}))
	for name, c := range map[string]struct {
		job        TaskConfig
		user       string
		says, args string
	}{
		"image":      {says: "uid=33 gid=34 cwd=/srv", args: "arg1=[first]\narg2=[of the image]\nrandom"},
		"args":       {job: TaskConfig{Args: []string{"x", "y"}}, says: "uid=33 gid=34", args: "arg1=[first]\narg2=[x]\narg3=[y]\nrandom"},
		"entrypoint": {job: TaskConfig{Entrypoint: []string{"/guest.spt"}}, says: "uid=33 gid=34", args: "cwd=/srv"},
		"kernel":     {job: TaskConfig{Kernel: "/guest.spt"}, says: "uid=33", args: "arg1=[first]\narg2=[of the image]\nrandom"},
		"user and group": {
			job: TaskConfig{WorkDir: "/local"}, user: "www:media", says: "uid=33 gid=77 cwd=/local ", args: "arg1=[first]",
		},
		"numeric user": {user: "1000", says: "uid=1000 gid=0 cwd=/srv", args: "arg1=[first]"},
	} {
		t.Run(name, func(t *testing.T) {
			c.job.Image = tag
			task := p.imageTask(t, c.job)
			task.User = c.user
			p.startLinux(t, task)
			text := console(task)
			must.StrContains(t, text, c.says)
			must.StrContains(t, text, c.args)
			must.StrContains(t, text, "alloc="+task.AllocID) // Nomad's variables win
			must.StrNotContains(t, text, "written:")         // the output of perror
			must.NoError(t, p.DestroyTask(task.ID, true))
		})
	}
}

func TestImage_UnknownUsersAreNamed(t *testing.T) {
	p, s := newImagePlugin(t)
	tag := s.push(t, "signals:1.0", linuxImage(t, "signals.c", v1.Config{}))
	task := p.imageTask(t, TaskConfig{Image: tag})
	task.User = "nobody"
	err := p.start(task)
	must.ErrorContains(t, err, `user: user "nobody"`)
	must.False(t, structs.IsRecoverable(err))

	ghost := s.push(t, "signals:2.0", linuxImage(t, "signals.c", v1.Config{User: "ghost"}))
	err = p.start(p.imageTask(t, TaskConfig{Image: ghost}))
	must.ErrorContains(t, err, "the USER of image "+ghost+`: user "ghost"`)
	must.StrNotContains(t, err.Error(), "task config")
	must.False(t, structs.IsRecoverable(err))
}

// hello.spt has no program whose user and directory could be set.
func TestImage_RefusesAUserThatTheGuestCannotHave(t *testing.T) {
	p, s := newImagePlugin(t)
	tag := s.push(t, "hello:1.0", guestImage(t, "hello.spt", "", v1.Config{User: "33", WorkingDir: "/srv"}))
	err := p.start(p.task(t, TaskConfig{Image: tag}, false))
	must.Eq(t, []string{"work_dir", "user"}, fields(err))
	must.ErrorContains(t, err, `set user = "0:0"`)
	task := p.task(t, TaskConfig{Image: tag, WorkDir: "/"}, false)
	task.User = "0:0"
	must.NoError(t, p.start(task))

	root := s.push(t, "hello:2.0", guestImage(t, "hello.spt", "", v1.Config{User: "root", WorkingDir: "/"}))
	err = p.start(p.task(t, TaskConfig{Image: root}, false))
	must.ErrorContains(t, err, `user "root"`) // there is no /etc/passwd
	plain := s.push(t, "hello:3.0", guestImage(t, "hello.spt", "", v1.Config{User: "0", WorkingDir: "/"}))
	must.NoError(t, p.start(p.task(t, TaskConfig{Image: plain}, false)))
}

// A task's stop signal outlives the plugin that started the task.
func TestImage_StopSignalSurvivesARecovery(t *testing.T) {
	first, s := newImagePlugin(t)
	tag := s.push(t, "idle:1.0", guestImage(t, "idle.spt", "", v1.Config{StopSignal: "SIGQUIT"}))
	_, byImage := first.runImage(t, TaskConfig{Image: tag})
	_, byJob := first.runImage(t, TaskConfig{Image: tag})
	second := first.restart(t)
	for _, c := range []struct {
		handle *drivers.TaskHandle
		signal string // as Nomad passes it
		want   syscall.Signal
	}{{byImage, "", syscall.SIGQUIT}, {byJob, "SIGINT", syscall.SIGINT}} {
		must.NoError(t, second.RecoverTask(c.handle))
		id := c.handle.Config.ID
		must.NoError(t, second.StopTask(id, time.Minute, c.signal))
		must.Eq(t, int(c.want), second.wait(t, c.handle.Config).Signal)
		status, err := second.InspectTask(id)
		must.NoError(t, err)
		must.Eq(t, tag, status.DriverAttributes["image"])
		must.NoError(t, second.DestroyTask(id, false))
	}
}

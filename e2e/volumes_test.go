// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv/cluster"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv/sandbox"
)

// mountedVolume is a host volume of the shared agent on which a file system is mounted, as a
// CSI plugin does.
const mountedVolume = "mounted"

func mountedVolumeDir() string { return filepath.Join(sandbox.Dir(), mountedVolume) }

func makeMountedVolume() error {
	if err := os.MkdirAll(mountedVolumeDir(), 0o755); err != nil {
		return err
	}
	return syscall.Mount("volume", mountedVolumeDir(), "tmpfs", 0, "size=16m")
}

// withVolume adds a volume to the first group of a job, mounted on a path of its first task.
func withVolume(job *api.Job, source, path string, readOnly bool) *api.Job {
	group := job.TaskGroups[0]
	if group.Volumes == nil {
		group.Volumes = map[string]*api.VolumeRequest{}
	}
	name := fmt.Sprint("volume", len(group.Volumes))
	group.Volumes[name] = &api.VolumeRequest{Name: name, Type: "host", Source: source, ReadOnly: readOnly}
	task := group.Tasks[0]
	task.VolumeMounts = append(task.VolumeMounts, &api.VolumeMount{Volume: &name, Destination: &path, ReadOnly: &readOnly})
	return job
}

// Two groups use one volume at the same time. One of them may only read.
func TestVolume_TwoGroupsShareAHostVolume(t *testing.T) {
	needRootAndTun(t)
	t.Parallel()
	for source, dir := range map[string]string{cluster.Volume: nomad.VolumeDir(), mountedVolume: mountedVolumeDir()} {
		t.Run(source, func(t *testing.T) {
			t.Parallel()
			writer := withVolume(deskJob(t, deskGuest(t, "desk")), source, "/srv/data", false)
			reader := withVolume(deskJob(t, deskGuest(t, "desk")), source, "/srv/data", true)
			reader.TaskGroups[0].Name = ptr("readers")
			writer.AddTaskGroup(reader.TaskGroups[0])
			groups := startGroups(t, nomad, writer)
			w, r := desk{groups["members"]}, desk{groups["readers"]}
			w.awaitReady(t)
			r.awaitReady(t)

			w.do(t, "/write", "path", "/srv/data/shared", "text", "from the writer")
			must.Eq(t, "from the writer", r.do(t, "/read", "path", "/srv/data/shared"))
			w.do(t, "/replace", "path", "/srv/data/shared", "text", "replaced")
			must.Eq(t, "replaced", r.do(t, "/read", "path", "/srv/data/shared"))
			content, err := os.ReadFile(filepath.Join(dir, "shared"))
			must.NoError(t, err)
			must.Eq(t, "replaced", string(content))
			r.fails(t, "Read-only file system", "/write", "path", "/srv/data/shared", "text", "x")
			r.fails(t, "Read-only file system", "/remove", "path", "/srv/data/shared")
			r.fails(t, "Read-only file system", "/link", "path", "/srv/data/link", "target", "shared")
			must.Eq(t, "replaced", w.do(t, "/read", "path", "/srv/data/shared"))
		})
	}
}

// A dynamic host volume is made by the agent's built-in plugin when an operator asks for it.
func TestVolume_DynamicHostVolumeOutlivesTheJob(t *testing.T) {
	needRootAndTun(t)
	t.Parallel()
	answer, _, err := nomad.API.HostVolumes().Create(&api.HostVolumeCreateRequest{Volume: &api.HostVolume{
		Name: "dynamic", PluginID: "mkdir", NodeID: nomad.NodeID,
		RequestedCapabilities: []*api.HostVolumeCapability{{
			AttachmentMode: api.HostVolumeAttachmentModeFilesystem, AccessMode: api.HostVolumeAccessModeSingleNodeWriter,
		}},
	}}, nil)
	must.NoError(t, err)
	t.Cleanup(func() {
		must.Wait(t, testenv.Eventually(func() error {
			_, _, err := nomad.API.HostVolumes().Delete(&api.HostVolumeDeleteRequest{ID: answer.Volume.ID}, nil)
			return err
		}))
		// The agent made the directory for the first volume.
		must.NoError(t, os.Remove(filepath.Dir(answer.Volume.HostPath)))
	})
	for i, want := range []string{"", "visit 0\n"} {
		t.Run(fmt.Sprint("job", i), func(t *testing.T) {
			job := withVolume(deskJob(t, deskGuest(t, "desk")), "dynamic", "/data", false)
			volume := job.TaskGroups[0].Volumes["volume0"]
			volume.AccessMode, volume.AttachmentMode = "single-node-writer", "file-system"
			d := runDesk(t, nomad, job)
			d.do(t, "/write", "path", "/data/visits", "text", "", "mode", "a")
			must.Eq(t, want, d.do(t, "/read", "path", "/data/visits"))
			d.do(t, "/write", "path", "/data/visits", "text", fmt.Sprintf("visit %d\n", i), "mode", "a")
		})
	}
}

func TestMount_FilesOfTheTaskAndMemory(t *testing.T) {
	needRootAndTun(t)
	t.Parallel()
	task := deskGuest(t, "desk").SetConfig("mount", []map[string]any{
		{"type": "bind", "source": "local/service.conf", "target": "/etc/service/service.conf", "readonly": true},
		{"type": "bind", "source": "alloc/data", "target": "/srv/shared"},
		{"type": "tmpfs", "target": "/var/cache/service", "tmpfs_options": []map[string]any{{"size": 8 << 20}}},
	})
	task.Templates = append(task.Templates, &api.Template{
		DestPath: ptr("local/service.conf"), EmbeddedTmpl: ptr("job {{ env \"NOMAD_JOB_NAME\" }}\n"),
	})
	d := runDesk(t, nomad, deskJob(t, task))
	must.Eq(t, "job "+*d.Job.Name+"\n", d.do(t, "/read", "path", "/etc/service/service.conf"))
	d.fails(t, "Read-only file system", "/write", "path", "/etc/service/service.conf", "text", "x")
	d.do(t, "/write", "path", "/srv/shared/file", "text", "seen in /alloc")
	must.Eq(t, "seen in /alloc", d.do(t, "/read", "path", "/alloc/data/file"))
	must.Eq(t, "seen in /alloc", d.readFile(t, "alloc/data/file"))
	must.Eq(t, fmt.Sprint(8<<20), d.do(t, "/size", "path", "/var/cache/service"))
	d.do(t, "/write", "path", "/var/cache/service/entry", "text", "in memory")
}

func TestMount_SourcesOutsideAreRefused(t *testing.T) {
	needRootAndTun(t)
	t.Parallel()
	task := deskGuest(t, "desk").SetConfig("mount", []map[string]any{{"type": "bind", "source": "/etc", "target": "/srv/host"}})
	a := start(t, nomad, deskJob(t, task))
	a.await(t, api.AllocClientStatusFailed)
	a.requireMessage(t, "/etc", "volumes.enabled")
}

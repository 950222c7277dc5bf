// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv/leftover"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv/registry"
)

func TestImage_RunsByTagAndByDigest(t *testing.T) {
	needRootAndTun(t)
	t.Parallel()
	tag := pushGuest(t, "hello")
	pushed, err := remote.Head(parsed(t, tag))
	must.NoError(t, err)
	digest := strings.TrimSuffix(tag, ":1") + "@" + pushed.Digest.String()
	runImage(t, nomad, renamed(imageJob(t, digest, "by", "digest"), "-digest"), "command line: by digest\n")
	runImage(t, nomad, renamed(imageJob(t, tag, "by", "tag"), "-tag"), "command line: by tag\n")
}

func TestImage_SecondStartAsksNothing(t *testing.T) {
	needRootAndTun(t)
	t.Parallel()
	ref := pushGuest(t, "hello")
	first := runImage(t, nomad, renamed(imageJob(t, ref), "-first"), "command line: ")
	must.StrContains(t, first.messages(), "Downloading image")
	before := requests(t)
	second := runImage(t, nomad, renamed(imageJob(t, ref), "-second"), "command line: ")
	must.Eq(t, before, requests(t))
	must.StrNotContains(t, second.messages(), "Downloading image")
}

// messages returns the messages of all events of the task.
func (a *alloc) messages() string {
	var all []string
	for _, event := range a.events() {
		all = append(all, event.DisplayMessage)
	}
	return strings.Join(all, "\n")
}

// The content is large enough that all tasks start during the pull.
func TestImage_TasksThatStartTogetherPullOnce(t *testing.T) {
	needRootAndTun(t)
	t.Parallel()
	root := t.TempDir()
	content := make([]byte, 8<<20)
	_, _ = rand.Read(content) // never fails
	must.NoError(t, os.WriteFile(filepath.Join(root, "content"), content, 0o600))
	ref := publicHost + "/" + repository(t) + ":1"
	must.NoError(t, build("docker://"+ref, "--kernel", filepath.Join(tools.Guests, "disk.spt"), "--root", root))

	job := imageJob(t, ref, "bytes=4096")
	group := job.TaskGroups[0]
	const tasks = 20
	for i := range tasks - 1 {
		task := *group.Tasks[0]
		task.Name += string(rune('a' + i))
		group.AddTask(&task)
	}
	a := start(t, nomad, job)
	a.await(t, api.AllocClientStatusComplete)
	must.MapLen(t, tasks, a.TaskStates)

	image, err := remote.Image(parsed(t, ref), remote.WithPlatform(v1.Platform{OS: "linux", Architecture: "amd64"}))
	must.NoError(t, err)
	layers, err := image.Layers()
	must.NoError(t, err)
	must.SliceLen(t, 2, layers)
	downloads := registry.Blobs(requests(t))
	for _, layer := range layers {
		digest, err := layer.Digest()
		must.NoError(t, err)
		must.Len(t, 1, slices.DeleteFunc(slices.Clone(downloads), func(r registry.Request) bool {
			return !strings.HasSuffix(r.Path, digest.String())
		}))
	}
}

func TestImage_PolicyDecidesWhetherAMovedTagRuns(t *testing.T) {
	needRootAndTun(t)
	t.Parallel()
	ref := pushGuest(t, "hello")
	runImage(t, nomad, renamed(imageJob(t, ref), "-first"), "command line: ")
	must.NoError(t, build("docker://"+ref, "--kernel", filepath.Join(tools.Guests, "spew.spt")))

	old := renamed(imageJob(t, ref, "lines=1"), "-missing")
	set(old, "image_pull_policy", "missing")
	runImage(t, nomad, old, "command line: lines=1\n")
	moved := renamed(imageJob(t, ref, "lines=1"), "-always")
	set(moved, "image_pull_policy", "always")
	runImage(t, nomad, moved, "spew 0000000001")
}

func TestImage_CachedImageNeedsNoRegistry(t *testing.T) {
	needRootAndTun(t)
	t.Parallel()
	other, err := startRegistry(t.Context(), otherHost, nil)
	must.NoError(t, err)
	stopped := false
	t.Cleanup(func() {
		if !stopped {
			must.NoError(t, other.Stop())
		}
	})
	ref := otherHost + "/team/hello:1"
	must.NoError(t, build("docker://"+ref, "--kernel", filepath.Join(tools.Guests, "hello.spt")))
	runImage(t, nomad, renamed(imageJob(t, ref), "-first"), "command line: ")
	must.NoError(t, other.Stop())
	stopped = true

	runImage(t, nomad, renamed(imageJob(t, ref, "again"), "-second"), "command line: again\n")
	never := renamed(imageJob(t, ref, "never"), "-never")
	set(never, "image_pull_policy", "never")
	runImage(t, nomad, never, "command line: never\n")

	always := renamed(imageJob(t, ref), "-always")
	set(always, "image_pull_policy", "always")
	set(always, "image_pull_timeout", "5s")
	a := start(t, nomad, always)
	a.await(t, api.AllocClientStatusFailed)
	a.requireMessage(t, otherHost)
}

// The guest's process has a link to the cache's kernel, so the entry is in use.
func TestImage_TaskOutlivesAgentAndCollection(t *testing.T) {
	needRootAndTun(t)
	t.Parallel()
	ref := pushGuest(t, "spew")
	n := client(t, "image-restart", 6)
	job := imageJob(t, ref, "every=100000000", "width=20")
	job.Type = ptr(api.JobTypeService)
	a := run(t, n, job)
	last := a.requireCount(t, 0)
	guest := a.pids(t)
	must.NoError(t, n.Stop())
	must.NoError(t, command("image", "gc", "--all", "--state-dir", n.StateDir))
	left, err := leftover.Images(n.StateDir)
	must.NoError(t, err)
	must.SliceNotEmpty(t, left)
	must.NoError(t, n.Start(t.Context()))
	a.requireCount(t, last)
	must.Eq(t, guest, a.pids(t))
	before := requests(t)

	must.NoError(t, nomad.API.Allocations().Restart(a.Allocation, a.task, nil))
	must.Wait(t, testenv.EventuallyTrue(func() bool {
		must.NoError(t, a.refresh())
		return a.TaskStates[a.task].Restarts == 1
	}))
	a.await(t, api.AllocClientStatusRunning)
	must.Eq(t, before, requests(t))
	a.stop(t)
	must.NoError(t, noImages(n))
}

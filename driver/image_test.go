// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/hashicorp/nomad/nomad/structs"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/image"
	"github.com/lkl-nomad/nomad-driver-lkl/image/archive"
	"github.com/lkl-nomad/nomad-driver-lkl/image/reference"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv/ext4"
)

func digestOf(t *testing.T, img v1.Image) string {
	t.Helper()
	digest, err := img.Digest()
	must.NoError(t, err)
	return digest.String()
}

func TestImage_StartsByTagAndDigest(t *testing.T) {
	p, s := newImagePlugin(t)
	img := guestImage(t, "hello.spt", "", v1.Config{Cmd: []string{"of", "the", "image"}})
	tag := s.push(t, "team/hello:1.0", img)
	for _, ref := range []string{tag, s.host() + "/team/hello@" + digestOf(t, img)} {
		task, handle := p.runImage(t, TaskConfig{Image: ref})
		waitForLine(t, task, "command line: of the image")
		must.True(t, p.wait(t, task).Successful())
		attributes := stateOf(t, handle).attributes()
		must.Eq(t, ref, attributes["image"])
		must.Eq(t, digestOf(t, img), attributes["image_digest"])
		must.Eq(t, "/guest.spt", attributes["kernel"])
		must.NoError(t, p.DestroyTask(task.ID, false))
		noTrace(t, handle)
	}
}

// The registry is not asked again, and no layer is read.
func TestImage_CachedStartsNeedNoRegistry(t *testing.T) {
	p, s := newImagePlugin(t)
	img := guestImage(t, "hello.spt", "", v1.Config{})
	tag := s.push(t, "hello:1.0", img)
	task, _ := p.runImage(t, TaskConfig{Image: tag})
	must.SliceNotEmpty(t, s.takeRequests())
	must.NoError(t, p.DestroyTask(task.ID, true))

	for _, job := range []TaskConfig{
		{Image: tag},
		{Image: tag, ImagePullPolicy: "missing"},
		{Image: tag, ImagePullPolicy: "never"},
		{Image: s.host() + "/hello@" + digestOf(t, img), ImagePullPolicy: "always"},
	} {
		p.runImage(t, job)
	}
	must.SliceEmpty(t, s.takeRequests())

	s.Close()
	p = p.restart(t)
	p.runImage(t, TaskConfig{Image: tag})
	err := p.start(p.task(t, TaskConfig{Image: tag, ImagePullPolicy: "always"}, false))
	must.ErrorContains(t, err, "connection refused")
	must.True(t, structs.IsRecoverable(err))
}

func TestImage_FollowsThePullPolicy(t *testing.T) {
	p, s := newImagePlugin(t)
	tag := s.push(t, "hello:1.0", guestImage(t, "hello.spt", "", v1.Config{Cmd: []string{"old"}}))
	err := p.start(p.task(t, TaskConfig{Image: tag, ImagePullPolicy: "never"}, false))
	must.ErrorContains(t, err, image.ErrNotCached.Error())
	must.False(t, structs.IsRecoverable(err))
	must.SliceEmpty(t, s.takeRequests())

	p.runImage(t, TaskConfig{Image: tag})
	s.push(t, "hello:1.0", guestImage(t, "hello.spt", "", v1.Config{Cmd: []string{"new"}}))
	for _, c := range []struct{ policy, word string }{
		{"", "old"}, {"missing", "old"}, {"never", "old"}, {"always", "new"}, {"never", "new"},
	} {
		task, _ := p.runImage(t, TaskConfig{Image: tag, ImagePullPolicy: c.policy})
		waitForLine(t, task, "command line: "+c.word)
	}
}

func TestImage_TheTagLatestIsResolvedAtEachStart(t *testing.T) {
	p, s := newImagePlugin(t)
	for _, word := range []string{"old", "new"} {
		latest := s.push(t, "hello", guestImage(t, "hello.spt", "", v1.Config{Cmd: []string{word}}))
		task, _ := p.runImage(t, TaskConfig{Image: latest})
		waitForLine(t, task, "command line: "+word)
	}
}

func TestImage_StartsFromFiles(t *testing.T) {
	testenv.Need(t, testenv.Root)
	host := t.TempDir()
	p := newTestPluginWith(t, Config{StateDir: t.TempDir(), ImagePaths: []string{host}})
	img := guestImage(t, "hello.spt", "", v1.Config{})
	for prefix, dir := range map[string]string{"local/": "", "/local/": "", host + "/": host} {
		for _, format := range []string{"oci", "oci-archive", "docker-archive"} {
			task := p.task(t, TaskConfig{Image: format + ":" + prefix + format, Args: []string{format}}, true)
			if dir == "" {
				writeImage(t, format, filepath.Join(task.TaskDir().LocalDir, format), img)
			} else {
				writeImage(t, format, filepath.Join(dir, format), img)
			}
			must.NoError(t, p.start(task), must.Sprint(prefix, format))
			waitForLine(t, task, "command line: "+format)
		}
	}
}

func writeImage(t *testing.T, format, path string, img v1.Image) {
	t.Helper()
	if format == "oci" {
		must.NoError(t, archive.WriteOCILayout(path, img, "1.0"))
		return
	}
	f, err := os.Create(path)
	must.NoError(t, err)
	defer f.Close()
	if format == "oci-archive" {
		must.NoError(t, archive.WriteOCIArchive(f, img, "1.0"))
		return
	}
	must.NoError(t, archive.WriteDockerArchive(f, img, "hello:1.0"))
}

func TestImage_RefusesFilesOutsideOfTheTaskDirectory(t *testing.T) {
	p, _ := newImagePlugin(t)
	outside := filepath.Join(t.TempDir(), "image.tar")
	writeImage(t, "docker-archive", outside, guestImage(t, "hello.spt", "", v1.Config{}))
	for name, says := range map[string]string{
		outside: "image_paths in the client's plugin config is empty", "local/link": "leads out of the directory",
		"local/dir/../../../../" + outside: "leads out of the task directory", "local/missing": "no such file",
	} {
		task := p.task(t, TaskConfig{Image: "docker-archive:" + name}, false)
		local := task.TaskDir().LocalDir
		must.NoError(t, os.Symlink(outside, filepath.Join(local, "link")))
		must.NoError(t, os.Mkdir(filepath.Join(local, "dir"), 0o755))
		err := p.start(task)
		must.ErrorContains(t, err, says)
		must.False(t, structs.IsRecoverable(err))
	}
}

func TestImage_ErrorsNameTheirCause(t *testing.T) {
	p, s := newImagePlugin(t)
	private := s.push(t, "private:1.0", guestImage(t, "hello.spt", "", v1.Config{}))
	hvt := s.push(t, "hvt:1.0", rawImage(t, "hello.hvt"))
	auth := basicAuth("robot", "right")
	s.answerWith(func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case strings.Contains(r.URL.Path, "/private/"):
			return auth(w, r)
		case strings.Contains(r.URL.Path, "/busy/"):
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(http.StatusServiceUnavailable)
			return true
		}
		return false
	})
	for name, c := range map[string]struct {
		job         TaskConfig
		says        string
		recoverable bool
	}{
		"no credentials":    {TaskConfig{Image: private}, "not authorized", false},
		"wrong credentials": {TaskConfig{Image: private, Auth: &TaskAuth{Username: "robot", Password: "wrong"}}, "not authorized", false},
		"no such tag":       {TaskConfig{Image: s.host() + "/hello:2.0"}, "not found", false},
		"another target":    {TaskConfig{Image: hvt}, "hvt", false},
		"busy":              {TaskConfig{Image: s.host() + "/busy:1.0"}, "unavailable", true},
	} {
		err := p.start(p.task(t, c.job, false))
		must.ErrorContains(t, err, c.says, must.Sprint(name))
		must.ErrorContains(t, err, "image", must.Sprint(name))
		must.StrNotContains(t, err.Error(), "wrong")
		must.Eq(t, c.recoverable, structs.IsRecoverable(err), must.Sprint(name, ": ", err))
	}
	_, handle := p.runImage(t, TaskConfig{Image: private, Auth: &TaskAuth{Username: "robot", Password: "right"}})
	must.Eq(t, private, stateOf(t, handle).Image)
}

func TestImage_UsesThePluginsCredentials(t *testing.T) {
	testenv.Need(t, testenv.Root)
	s := newImageServer(t)
	private := s.push(t, "private:1.0", guestImage(t, "hello.spt", "", v1.Config{}))
	s.answerWith(basicAuth("robot", "right"))
	config := s.config(t)
	config.Auth.Config = filepath.Join(t.TempDir(), "config.json")
	content := `{"auths": {"` + s.host() + `": {"username": "robot", "password": "right"}}}`
	must.NoError(t, os.WriteFile(config.Auth.Config, []byte(content), 0o600))
	p := newTestPluginWith(t, config)
	task, _ := p.runImage(t, TaskConfig{Image: private})
	must.True(t, p.wait(t, task).Successful())
}

func TestImage_ManyStartsAreOnePull(t *testing.T) {
	p, s := newImagePlugin(t)
	img := guestImage(t, "disk-lkl.spt", t.TempDir(), v1.Config{Cmd: []string{"mode=check", "bytes=512"}})
	tag := s.push(t, "disk:1.0", img)
	const starts = 20
	errs := make(chan error, starts)
	for range starts {
		task := p.task(t, TaskConfig{Image: tag}, false)
		go func() { errs <- p.start(task) }()
	}
	for range starts {
		must.NoError(t, testenv.Receive(t, errs))
	}
	manifest, err := img.Manifest()
	must.NoError(t, err)
	requests := s.takeRequests()
	for _, layer := range manifest.Layers {
		request := "GET blobs/" + layer.Digest.String()
		rest := slices.DeleteFunc(slices.Clone(requests), func(r string) bool { return r != request })
		must.Eq(t, []string{request}, rest)
	}
}

func TestImage_HasARootDisk(t *testing.T) {
	p, s := newImagePlugin(t)
	root := t.TempDir()
	must.NoError(t, os.WriteFile(filepath.Join(root, "data"), []byte("of the image"), 0o644))
	tag := s.push(t, "disk:1.0", guestImage(t, "disk-lkl.spt", root, v1.Config{}))
	sizes := map[string]int64{}
	for _, size := range []string{"", "1MiB", "200MiB"} {
		_, handle := p.runImage(t, TaskConfig{
			Image: tag, Flavor: "lkl", RootfsSize: size, Args: []string{"mode=check", "bytes=512"},
		})
		disk := filepath.Join(stateOf(t, handle).Dir, diskFile)
		waitFor(t, "the end of the guest", func() bool { return !stateOf(t, handle).Guest.Alive() })
		must.NoError(t, ext4.Check(disk))
		content, err := ext4.ReadFile(disk, "/data")
		must.NoError(t, err)
		must.Eq(t, "of the image", string(content))
		_, err = ext4.ReadFile(disk, "/etc/hostname") // a task's file
		must.NoError(t, err)
		_, err = ext4.ReadFile(disk, "/guest.spt")
		must.Error(t, err) // the kernel is not a part of the root
		info, err := os.Stat(disk)
		must.NoError(t, err)
		sizes[size] = info.Size()
	}
	must.Eq(t, sizes[""], sizes["1MiB"]) // the disk never shrinks
	must.Greater(t, 64<<20, sizes[""])
	must.Eq(t, 200<<20, sizes["200MiB"])
}

func TestImage_ObservesMaxRootfsSize(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.Tool("mke2fs"), testenv.Tool("debugfs"))
	s := newImageServer(t)
	root := t.TempDir()
	must.NoError(t, os.WriteFile(filepath.Join(root, "file"), bytes.Repeat([]byte{'x'}, 20<<20), 0o644))
	tag := s.push(t, "large:1.0", guestImage(t, "disk-lkl.spt", root, v1.Config{}))
	config := s.config(t)
	config.MaxRootfsSize = "16MiB"
	p := newTestPluginWith(t, config)
	err := p.start(p.task(t, TaskConfig{Image: tag}, false))
	must.ErrorContains(t, err, "max_rootfs_size")
	must.False(t, structs.IsRecoverable(err))
}

// The archive of the image can be larger than the disk.
func TestImage_TheGuestGetsNoCopyOfTheArchive(t *testing.T) {
	p, _ := newImagePlugin(t)
	task := p.task(t, TaskConfig{
		Image: "oci-archive:local/image.tar", Flavor: "lkl", Args: []string{"mode=check", "bytes=512"},
	}, false)
	local := task.TaskDir().LocalDir
	writeImage(t, "oci-archive", filepath.Join(local, "image.tar"), guestImage(t, "disk-lkl.spt", t.TempDir(), v1.Config{}))
	must.NoError(t, os.WriteFile(filepath.Join(local, "other"), []byte("x"), 0o644))
	handle, _, err := p.StartTask(task)
	must.NoError(t, err)
	disk := filepath.Join(stateOf(t, handle).Dir, diskFile)
	p.wait(t, task)
	_, err = ext4.ReadFile(disk, "/local/other")
	must.NoError(t, err)
	_, err = ext4.ReadFile(disk, "/local/image.tar")
	must.Error(t, err)
}

func TestImage_EventsReportTheProgress(t *testing.T) {
	p, s := newImagePlugin(t)
	img := guestImage(t, "disk-lkl.spt", t.TempDir(), v1.Config{Cmd: []string{"mode=check", "bytes=512"}})
	tag := s.push(t, "disk:1.0", img)
	for _, cached := range []bool{false, true} {
		task := p.task(t, TaskConfig{Image: tag}, false)
		messages := p.events(t, task)
		must.NoError(t, p.start(task))
		p.impl.events.emit(task, "end", nil)
		var all []string
		for message := ""; message != "end"; {
			message = testenv.Receive(t, messages)
			all = append(all, message)
		}
		text := strings.Join(all, "\n")
		must.Eq(t, cached, !strings.Contains(text, "Downloading image "+tag+" ("), must.Sprint(text))
		must.Eq(t, cached, !strings.Contains(text, "Building the root disk of image "+tag), must.Sprint(text))
		ready := "Image " + tag + " is " + digestOf(t, img)
		if cached {
			ready += " (cached)"
		}
		must.SliceContains(t, all, ready)
	}
}

func TestPullEvents_AreFew(t *testing.T) {
	var sent []string
	p := &pullEvents{image: "web:1.0", verb: "Downloading", emit: func(message string) { sent = append(sent, message) }}
	p.report(image.Progress{Stage: image.StageResolving})
	p.report(image.Progress{Stage: image.StageRetrying, Retry: "a.example does not answer; attempt 2 of 5"})
	p.report(image.Progress{Stage: image.StageRetrying, Retry: "a.example does not answer; attempt 3 of 5"})
	p.report(image.Progress{Stage: image.StageWaiting})
	p.report(image.Progress{Stage: image.StageWaiting})
	for done := range int64(1000) {
		p.report(image.Progress{Stage: image.StageDownloading, Done: done << 10, Total: 1 << 20})
	}
	p.next = time.Now() // the pause is over
	p.report(image.Progress{Stage: image.StageDownloading, Done: 512 << 10, Total: 1 << 20})
	p.report(image.Progress{Stage: image.StageBuilding})
	p.report(image.Progress{Stage: image.StageBuilding})
	must.Eq(t, []string{
		"Image web:1.0: a.example does not answer; attempt 2 of 5",
		"Waiting for other pulls before that of image web:1.0",
		"Downloading image web:1.0 (1.0 MiB)",
		"Downloading image web:1.0: 512 KiB of 1.0 MiB",
		"Building the root disk of image web:1.0",
	}, sent)
}

func TestPullEvents_LocalImagesAreNotDownloaded(t *testing.T) {
	ref, err := reference.Parse("oci-archive:local/web.tar")
	must.NoError(t, err)
	p := (&Driver{}).newPullEvents(job{config: TaskConfig{Image: ref.String()}}, ref)
	must.Eq(t, "Reading image oci-archive:local/web.tar (1.0 MiB)", p.message(image.Progress{Stage: image.StageDownloading, Total: 1 << 20}))
}

// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv/ext4"
)

// Images of hostile authors end the start with an error. No process, file or cgroup of the
// start is left, and no device was changed.
func TestStart_EndsOnHostileImages(t *testing.T) {
	testenv.Need(t, testenv.Tool("mke2fs"), testenv.Tool("debugfs"))
	major, minor := testenv.UntouchedLoop(t)
	for name, c := range map[string]struct {
		create func(image string) error
		says   string
	}{
		"cyclic directory": {ext4.MakeCyclicDirectory, "processor time"},
		"journal in a backup": {
			func(image string) error { return ext4.MakeJournalInBackup(image, major<<8|minor) },
			"check local/root.ext4 with e2fsck -f",
		},
		"mmp": {
			func(image string) error {
				return ext4.Make(image, "-t", "ext4", "-O", "mmp", "-E", "mmp_update_interval=300")
			},
			"rootfs: local/root.ext4: the feature mmp: not supported in a disk of a guest",
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newTestPlugin(t)
			task := p.task(t, TaskConfig{Kernel: diskGuest("lkl"), Rootfs: "local/root.ext4", Flavor: "lkl"}, false)
			image := filepath.Join(task.TaskDir().LocalDir, "root.ext4")
			must.NoError(t, c.create(image))
			before, err := os.ReadFile(image)
			must.NoError(t, err)

			_, _, err = p.StartTask(task)
			must.ErrorContains(t, err, c.says)

			after, err := os.ReadFile(image)
			must.NoError(t, err)
			must.True(t, bytes.Equal(before, after), must.Sprint("the job's image was changed"))
			must.DirNotExists(t, taskDirPath(p.config.StateDir, task.ID))
			spec, err := taskCgroup(task)
			must.NoError(t, err)
			must.DirNotExists(t, cgroupPath(spec)) // it could not be removed with a process
		})
	}
}

// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"path"

	"github.com/hashicorp/nomad/plugins/drivers"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/problems"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
)

// A program holds the settings of the program in the unikernel. They are those of the job,
// and those of the image that the job does not replace.
type program struct {
	args []string
	env  map[string]string
	dir  string // the working directory, or "" for /
	user owner
	// stopSignal is the image's, or "". The job's kill_signal precedes it.
	stopSignal string
}

// An owner is a user and a group in the guest. The zero value is root.
type owner struct{ uid, gid uint32 }

// jobProgram returns the program of a valid job without an image.
func jobProgram(t *TaskConfig, task *drivers.TaskConfig) program {
	uid, gid, _ := parseUser(task.User) // validate has checked it
	return program{args: t.Args, env: task.Env, dir: t.WorkDir, user: owner{uid, gid}}
}

// checkProgram reports settings of the program or of Linux that the guest does
// not support.
func (k kernelInfo) checkProgram(list *problems.List, j job) {
	k.checkLinux(list, &j.config)
	if k.supports(unikernel.FeatureProgram) {
		return
	}
	// The defaults need no support: any guest starts as root in /.
	if dir := j.program.dir; dir != "" && path.Clean(dir) != "/" {
		if j.config.WorkDir == "" {
			list.Addf("work_dir", "the image sets WORKDIR %s, which is not supported by this guest (%s): "+
				"set work_dir = \"/\" in the job to start there", dir, inspectHint)
		} else {
			list.Addf("work_dir", "is not supported by this guest (%s)", inspectHint)
		}
	}
	if j.program.user != (owner{}) {
		if j.task.User == "" {
			list.Addf("user", "the image sets a USER other than root, which is not supported by this guest (%s): "+
				"set user = \"0:0\" in the task to run as root", inspectHint)
		} else {
			list.Addf("user", "is not supported by this guest (%s)", inspectHint)
		}
	}
}

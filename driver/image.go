// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/lkl-nomad/nomad-driver-lkl/disk"
	"github.com/lkl-nomad/nomad-driver-lkl/image"
	"github.com/lkl-nomad/nomad-driver-lkl/image/reference"
	"github.com/lkl-nomad/nomad-driver-lkl/image/registry"
	"github.com/lkl-nomad/nomad-driver-lkl/image/spec"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/problems"
)

// A taskImage is the image of a task that starts. Until Close, the garbage collection spares
// it. Later the task's link to its kernel marks it as used.
type taskImage struct {
	name  string   // as in the job
	file  *jobFile // the file or directory of a local image, or nil
	entry *image.Entry
}

// Close does nothing for nil.
func (i *taskImage) Close() {
	if i == nil {
		return
	}
	if i.entry != nil {
		_ = i.entry.Close()
	}
	if i.file != nil {
		_ = i.file.Close() // it was only read
	}
}

// localFile returns the file that the image came from, or nil.
func (i *taskImage) localFile() *jobFile {
	if i == nil {
		return nil
	}
	return i.file
}

// pullTimeoutError returns the cause for which a pull is canceled at its deadline.
func pullTimeoutError(limit time.Duration) error {
	return fmt.Errorf("the image was not ready within image_pull_timeout (%v): check the connection to the registry, "+
		"or set a larger image_pull_timeout in the job", limit)
}

// addImage brings in the image of a job that has one, and merges its settings with the
// job's. The caller closes the image. start_timeout does not include this time.
func (d *Driver) addImage(ctx context.Context, j job, timer *startTimer) (job, error) {
	if j.config.Image == "" {
		return j, nil
	}
	resume := timer.pause()
	defer resume()
	limit, err := j.config.pullTimeout()
	if err != nil {
		return j, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, pullTimeoutError(limit))
	defer cancel()
	found, err := d.pull(ctx, j)
	if err != nil {
		return j, canceledError(ctx, err)
	}
	merged, err := j.withImage(found)
	if err != nil {
		found.Close()
		return j, err
	}
	return merged, nil
}

// pull returns the job's image from the cache, or brings it in.
func (d *Driver) pull(ctx context.Context, j job) (*taskImage, error) {
	store, err := d.imageStore()
	if err != nil {
		return nil, retryable(err)
	}
	ref, err := reference.Parse(j.config.Image)
	if err != nil {
		return nil, err
	}
	found, events := &taskImage{name: j.config.Image}, d.newPullEvents(j, ref)
	request := image.Request{
		Reference: ref, Policy: image.Policy(j.config.ImagePullPolicy), Overrides: j.overrides(),
		Progress: events.report,
	}
	if ref.IsLocal() {
		if found.file, err = openJobFile(j.task, d.config.ImagePaths, ref.Path()); err != nil {
			return nil, fmt.Errorf("image %s: %w", ref, err)
		}
		request.Local = found.file.File
	}
	if auth := j.config.Auth; auth != nil {
		request.Credentials = &registry.Credentials{Username: auth.Username, Password: auth.Password}
	}
	if found.entry, err = store.Get(ctx, request); err != nil {
		found.Close()
		return nil, withDiskAdvice(err, j.config.Image)
	}
	events.ready(found.entry)
	return found, nil
}

// overrides returns the job's settings that replace those of its image. Nomad passes the
// job's kill_signal only when it stops the task.
func (j job) overrides() spec.Overrides {
	return spec.Overrides{
		Kernel: j.config.Kernel, Entrypoint: j.config.Entrypoint, Args: j.config.Args,
		Env: j.task.Env, User: j.task.User, WorkingDir: j.config.WorkDir,
	}
}

// withImage returns the job with an image, and with the program that both describe.
func (j job) withImage(i *taskImage) (job, error) {
	process, err := i.entry.Config.Merge(j.overrides())
	if err != nil {
		return j, err
	}
	account, err := i.entry.Accounts.LookupUser(process.User)
	if err != nil {
		return j, j.userError(err)
	}
	if _, set := process.Env["HOME"]; !set && account.Home != "" {
		process.Env["HOME"] = account.Home // as docker does
	}
	j.image = i
	j.program = program{
		args: process.Args, env: process.Env, dir: process.WorkingDir,
		user: owner{account.UID, account.GID}, stopSignal: process.StopSignal,
	}
	return j, nil
}

// userError returns the error about a user that the image does not have.
func (j job) userError(err error) error {
	if j.task.User == "" {
		return fmt.Errorf("the USER of image %s: %w, or set user in the task", j.config.Image, err)
	}
	var list problems.List
	list.Addf("user", "%w", err)
	return taskConfigError(&list)
}

// imageKernel links the kernel of the job's image to path.
func (d *Driver) imageKernel(ctx context.Context, j job, path string) (*kernel, error) {
	entry := j.image.entry
	k := &kernel{digest: entry.KernelDigest}
	err := os.Link(entry.KernelFile, path)
	if errors.Is(err, syscall.EMLINK) || errors.Is(err, syscall.EXDEV) {
		d.taskLog(j.task).Warn("cannot link the kernel of the image, so the task does not share its memory with others", "error", err)
		err = disk.Copy(ctx, entry.KernelFile, path)
	}
	if err != nil {
		return nil, retryable(withDiskAdvice(err, j.config.Image))
	}
	if k.private, err = os.Open(path); err != nil {
		return nil, retryable(err)
	}
	if k.kernelInfo, err = readKernelInfo(k.private, j.config.Flavor); err != nil {
		k.Close()
		return nil, fmt.Errorf("%s in image %s: %w", entry.KernelPath, j.config.Image, err)
	}
	return k, nil
}

// openRoot opens the image's root. The image of a kernel with a block device has one.
func (i *taskImage) openRoot() (*jobFile, error) {
	f, err := os.Open(i.entry.RootFile)
	if err != nil {
		return nil, retryable(err)
	}
	info, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return nil, retryable(err)
	}
	return &jobFile{File: f, name: "the root of image " + i.name, info: info}, nil
}

// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/lkl-nomad/nomad-driver-lkl/executor/client"
)

// removeEarlierStarts removes earlier starts of a task that Nomad does not
// know: from a plugin that was killed, or from this one for an agent that was
// killed before it received the handle.
func (d *Driver) removeEarlierStarts(ctx context.Context, task record) error {
	for _, h := range d.tasks.earlier(task) {
		if err := d.destroy(ctx, h); err != nil {
			return err
		}
	}
	return d.removeStrays(ctx, task)
}

// removeTask removes everything that a task owns: its processes and control
// groups, the links of its guest, and its directory. The directory
// comes last, so that a failed removal can be repeated. Processes in known are
// ended even if the directory no longer names them.
func removeTask(ctx context.Context, dir string, r record, known client.Known) error {
	known.Cgroup = r.Cgroup
	if err := client.Destroy(ctx, dir, known); err != nil {
		return fmt.Errorf("end the task's processes: %w", err)
	}
	links := r.allLinks()
	if now, err := readRecord(dir); err == nil { // r may be older than the links
		links = append(links, now.allLinks()...)
	}
	if known.Executor.Pid == 0 {
		awaitTaps(ctx, links)
	}
	if err := removeLinks(links); err != nil {
		return err
	}
	return removeDir(ctx, dir)
}

const (
	// removeTimeout limits how long removeDir waits for a process that writes to
	// the directory.
	removeTimeout = 10 * time.Second
	removePause   = 10 * time.Millisecond
)

// removeDir removes a task's directory. It tries again while a process of a
// killed plugin still creates files there: a tool that builds the root disk, or
// an executor that was just being started. Both end by themselves: the tool when
// it is done, and the executor when it finds that the plugin is gone.
func removeDir(ctx context.Context, dir string) error {
	ctx, cancel := context.WithTimeout(ctx, removeTimeout)
	defer cancel()
	for {
		err := os.RemoveAll(dir)
		if err == nil {
			return nil
		}
		err = fmt.Errorf("remove the task directory: %w", err)
		if !errors.Is(err, syscall.ENOTEMPTY) {
			return err
		}
		select {
		case <-time.After(removePause):
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		}
	}
}

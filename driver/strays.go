// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/lkl-nomad/nomad-driver-lkl/executor/client"
)

const (
	// sweepGrace is the time from the plugin's start to its first sweep: Nomad
	// recovers the tasks that it knows right after the start. A sweep spares
	// incomplete directories that are younger.
	sweepGrace = 2 * time.Minute
	// sweepPeriod is the time between later sweeps.
	sweepPeriod = 5 * time.Minute
	// unusedPeriod is the time between sweeps of files that tasks share.
	unusedPeriod = time.Hour
)

// strays are tasks in the state directory that Nomad has not recovered: a
// plugin was killed during StartTask, Nomad lost its state, or a removal
// failed. A stray is removed when the same task starts again, or when its alloc
// directory is gone. Otherwise it is left alone, because another Nomad client
// may use the same state directory.
type strays struct {
	mu    sync.Mutex
	byDir map[string]*stray
}

type stray struct {
	record   record
	removing bool
}

// errRemoving means that a stray is being removed by another goroutine.
var errRemoving = errors.New("the task is being removed")

func (s *strays) add(dir string, r record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byDir == nil {
		s.byDir = map[string]*stray{}
	}
	if s.byDir[dir] == nil {
		s.byDir[dir] = &stray{record: r}
	}
}

// forget takes a task that Nomad recovers off the list. It removes nothing from
// the host.
func (s *strays) forget(dir string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if found := s.byDir[dir]; found != nil && found.removing {
		return errRemoving
	}
	delete(s.byDir, dir)
	return nil
}

// records returns the records of all strays by directory.
func (s *strays) records() map[string]record {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make(map[string]record, len(s.byDir))
	for dir, found := range s.byDir {
		all[dir] = found.record
	}
	return all
}

// remove removes one stray. The stray stays on the list until removeTask has
// succeeded, so that a failed removal is tried again.
func (s *strays) remove(dir string, removeTask func() error) error {
	s.mu.Lock()
	found := s.byDir[dir]
	if found == nil {
		s.mu.Unlock()
		return nil
	}
	if found.removing {
		s.mu.Unlock()
		return errRemoving
	}
	found.removing = true
	s.mu.Unlock()

	err := removeTask()

	s.mu.Lock()
	defer s.mu.Unlock()
	found.removing = false
	if err == nil {
		delete(s.byDir, dir)
	}
	return err
}

// removeStrays removes the strays that are earlier starts of a task.
func (d *Driver) removeStrays(ctx context.Context, task record) error {
	for dir, r := range d.strays.records() {
		if !r.sameTask(task) {
			continue
		}
		if err := d.strays.remove(dir, func() error { return removeTask(ctx, dir, r, client.Known{}) }); err != nil {
			return err
		}
	}
	return nil
}

// findStrays lists the tasks in the state directory.
func (d *Driver) findStrays() error {
	records, err := readRecords(d.config.StateDir)
	for dir, r := range records {
		d.strays.add(dir, r)
	}
	return err
}

// sweepForever removes strays for as long as the plugin runs.
func (d *Driver) sweepForever() {
	timer := time.NewTimer(sweepGrace)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-d.ctx.Done():
			return
		}
		d.sweepStrays()
		if err := sweepIncomplete(d.config.StateDir, time.Now().Add(-sweepGrace)); err != nil {
			d.log.Error("cannot remove incomplete task directories", "error", err)
		}
		timer.Reset(sweepPeriod)
	}
}

// sweepStrays removes the strays whose alloc directory is gone.
func (d *Driver) sweepStrays() {
	for dir, r := range d.strays.records() {
		// A plugin of an earlier version, which uses the same state directory, may
		// have written the record after this plugin found the directory.
		if now, err := readRecord(dir); err == nil {
			r = now
		}
		if r.Version > recordVersion || !allocGone(r) {
			continue
		}
		err := d.strays.remove(dir, func() error { return removeTask(d.ctx, dir, r, client.Known{}) })
		if err != nil {
			d.log.Error("cannot remove a task whose alloc is gone", "task_id", r.Task, "dir", dir, "error", err)
			continue
		}
		d.log.Warn("removed a task whose alloc is gone", "task_id", r.Task, "dir", dir)
	}
}

// allocGone reports whether a task's alloc directory has been removed. It
// returns false if the parent directory is missing as well: then a file system
// may not be mounted. A task without a record belongs to no alloc.
func allocGone(r record) bool {
	if r.AllocDir == "" {
		return true
	}
	if _, err := os.Stat(filepath.Dir(r.AllocDir)); err != nil {
		return false
	}
	_, err := os.Stat(r.AllocDir)
	return errors.Is(err, fs.ErrNotExist)
}

// sweepUnusedForever removes unused kernels and programs for as long as the plugin runs.
func (d *Driver) sweepUnusedForever() {
	tick := time.NewTicker(unusedPeriod)
	defer tick.Stop()
	for {
		if err := d.kernels.sweep(time.Now().Add(-unusedKernelTTL)); err != nil {
			d.log.Error("cannot remove unused kernels", "error", err)
		}
		if err := sweepExecutors(d.config.StateDir, time.Now().Add(-unusedExecutorTTL)); err != nil {
			d.log.Error("cannot remove unused programs", "error", err)
		}
		select {
		case <-tick.C:
		case <-d.ctx.Done():
			return
		}
	}
}

// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/lkl-nomad/nomad-driver-lkl/executor/client"
)

const (
	// sweepGrace is how long a task that was there before the plugin is left
	// alone: Nomad recovers all that it knows right after it has started the
	// plugin.
	sweepGrace = 2 * time.Minute
	// sweepPeriod is the time between further looks at those that stayed.
	sweepPeriod = 5 * time.Minute
)

// strays are the tasks that were there when the plugin started and that Nomad
// has not recovered (yet): a plugin was killed in the middle of StartTask, or
// Nomad lost its own state. One is cleared away when the same task starts
// anew, or when its alloc directory is gone. Any other is left alone: another
// Nomad client may use the same state directory.
type strays struct {
	mu      sync.Mutex
	records map[string]record // by directory
}

// claim takes a task off the list: Nomad has asked for it.
func (s *strays) claim(dir string) (record, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.records[dir]
	delete(s.records, dir)
	return r, ok
}

func (s *strays) list() map[string]record {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.records)
}

// clear removes what an earlier start of a task left.
func (s *strays) clear(ctx context.Context, task record) error {
	for dir, r := range s.list() {
		if !r.sameTask(task) {
			continue
		}
		if _, ok := s.claim(dir); !ok {
			continue
		}
		if err := clearAway(ctx, dir, r, client.Known{}); err != nil {
			return err
		}
	}
	return nil
}

// findStrays reads what tasks there are, and looks after those that nobody
// claims for as long as there are any.
func (d *Driver) findStrays() error {
	records, err := readRecords(d.config.StateDir)
	if err != nil || len(records) == 0 {
		return err
	}
	d.strays.mu.Lock()
	d.strays.records = records
	d.strays.mu.Unlock()
	go func() {
		for wait := sweepGrace; len(d.strays.list()) > 0; wait = sweepPeriod {
			select {
			case <-time.After(wait):
				d.sweepStrays()
			case <-d.ctx.Done():
				return
			}
		}
	}()
	return nil
}

// sweepStrays clears away the strays whose alloc is gone.
func (d *Driver) sweepStrays() {
	for dir, r := range d.strays.list() {
		// Another plugin, which shares the directory, may have been in the middle
		// of the task's start when its record was read.
		if now, err := readRecord(dir); err == nil {
			r = now
		}
		if !allocGone(r) {
			continue
		}
		if _, ok := d.strays.claim(dir); !ok {
			continue
		}
		if err := clearAway(d.ctx, dir, r, client.Known{}); err != nil {
			d.log.Error("cannot clear away a task whose alloc is gone", "task_id", r.Task, "dir", dir, "error", err)
			continue
		}
		d.log.Warn("cleared away a task whose alloc is gone", "task_id", r.Task, "dir", dir)
	}
}

// allocGone tells whether a task's alloc directory has been removed. That the
// directory of all allocs is there rules out that a disk is not mounted. A
// task without a record had not got so far as to own anything.
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

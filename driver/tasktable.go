// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/hashicorp/nomad/plugins/drivers"
)

// A taskTable holds the plugin's tasks by Nomad's task ID.
type taskTable struct {
	mu       sync.Mutex
	handles  map[string]*handle
	reserved map[string]*reservation
}

// A reservation is a start or a recovery of a task that is under way.
type reservation struct {
	task   record
	claim  *claim // nil before it is known
	cancel context.CancelCauseFunc
	ended  chan struct{} // closed by taskTable.release
	// undoErr is why a failed start could not be undone. It may be read after
	// ended is closed.
	undoErr error
}

var (
	// errStarted means that a task is being started or has been started.
	errStarted = errors.New("has already been started")
	// errStarting means that a task has no guest yet.
	errStarting = errors.New("is still being started")
)

// reserve makes sure that each task is started once, and that only one start of
// it is under way. (Nomad gives each start another ID.) The caller releases the
// reservation. Its context is canceled, with a cause, if others want the start to
// end. The error is errStarted or retryable.
func (t *taskTable) reserve(ctx context.Context, task *drivers.TaskConfig) (context.Context, error) {
	id, r := task.ID, record{AllocID: task.AllocID, Name: task.Name}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.reserved[id] != nil || t.handles[id] != nil {
		return nil, fmt.Errorf("task %s %w", id, errStarted)
	}
	for otherID, other := range t.reserved {
		if other.task.sameTask(r) {
			return nil, retryable(fmt.Errorf("an earlier start of this task, %s, is still under way", otherID))
		}
	}
	if t.reserved == nil {
		t.reserved = map[string]*reservation{}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	t.reserved[id] = &reservation{task: r, cancel: cancel, ended: make(chan struct{})}
	return ctx, nil
}

// release ends a reservation. undoErr is why a failed start could not be undone.
func (t *taskTable) release(id string, undoErr error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.reserved[id]
	delete(t.reserved, id)
	r.undoErr = undoErr
	r.cancel(nil)
	close(r.ended)
}

// reservation returns the start or recovery of a task that is under way, or nil.
func (t *taskTable) reservation(id string) *reservation {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.reserved[id]
}

// otherStart returns a start of a task under another ID that is under way, or nil.
func (t *taskTable) otherStart(task *drivers.TaskConfig) *reservation {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id, r := range t.reserved {
		if id != task.ID && r.task.sameTask(record{AllocID: task.AllocID, Name: task.Name}) {
			return r
		}
	}
	return nil
}

func (t *taskTable) put(h *handle) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.handles == nil {
		t.handles = map[string]*handle{}
	}
	t.handles[h.task.ID] = h
}

// get returns errStarting for a task that is being started, and
// drivers.ErrTaskNotFound for an unknown task.
func (t *taskTable) get(id string) (*handle, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.handles[id] != nil:
		return t.handles[id], nil
	case t.reserved[id] != nil:
		return nil, retryable(fmt.Errorf("task %s %w", id, errStarting))
	}
	return nil, drivers.ErrTaskNotFound
}

// earlier returns the earlier starts of a task.
func (t *taskTable) earlier(task record) []*handle {
	t.mu.Lock()
	defer t.mu.Unlock()
	var found []*handle
	for _, h := range t.handles {
		if h.record().sameTask(task) {
			found = append(found, h)
		}
	}
	return found
}

func (t *taskTable) drop(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.handles, id)
}

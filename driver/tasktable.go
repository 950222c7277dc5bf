// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"errors"
	"fmt"
	"sync"

	"github.com/hashicorp/nomad/plugins/drivers"
)

// A taskTable holds the plugin's tasks by Nomad's task ID.
type taskTable struct {
	mu       sync.Mutex
	handles  map[string]*handle
	starting map[string]record // being started or recovered
}

// errStarted means that a task is being started or has been started.
var errStarted = errors.New("has already been started")

// reserve makes sure that each task is started once, and that only one start of
// it is under way. (Nomad gives each start another ID.) The returned function
// ends the reservation. The error is errStarted or retryable.
func (t *taskTable) reserve(task *drivers.TaskConfig) (func(), error) {
	id, r := task.ID, record{AllocID: task.AllocID, Name: task.Name}
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, starting := t.starting[id]; starting || t.handles[id] != nil {
		return nil, fmt.Errorf("task %s %w", id, errStarted)
	}
	for otherID, other := range t.starting {
		if other.sameTask(r) {
			return nil, retryable(fmt.Errorf("an earlier start of this task, %s, is still under way", otherID))
		}
	}
	if t.starting == nil {
		t.starting = map[string]record{}
	}
	t.starting[id] = r
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.starting, id)
	}, nil
}

func (t *taskTable) put(h *handle) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.handles == nil {
		t.handles = map[string]*handle{}
	}
	t.handles[h.task.ID] = h
}

// get returns drivers.ErrTaskNotFound for an unknown task.
func (t *taskTable) get(id string) (*handle, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if h := t.handles[id]; h != nil {
		return h, nil
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

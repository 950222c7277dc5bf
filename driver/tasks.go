// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"errors"
	"fmt"
	"sync"

	"github.com/hashicorp/nomad/plugins/drivers"
)

// tasks are the handles by Nomad's task id.
type tasks struct {
	mu       sync.Mutex
	handles  map[string]*handle
	starting map[string]record
}

// errStarted says that a task is started or recovered already.
var errStarted = errors.New("is started already")

// reserve makes sure that a task is started once, and one start of it at a time:
// Nomad gives each another id. The returned function ends the reservation. Errors:
// errStarted, or one that is worth another try.
func (t *tasks) reserve(task *drivers.TaskConfig) (func(), error) {
	id, r := task.ID, record{AllocID: task.AllocID, Name: task.Name}
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, starting := t.starting[id]; starting || t.handles[id] != nil {
		return nil, fmt.Errorf("task %s %w", id, errStarted)
	}
	for other, o := range t.starting {
		if o.sameTask(r) {
			return nil, retryable(fmt.Errorf("an earlier start of this task, %s, is still under way", other))
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

func (t *tasks) put(h *handle) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.handles == nil {
		t.handles = map[string]*handle{}
	}
	t.handles[h.task.ID] = h
}

// get returns drivers.ErrTaskNotFound where the plugin does not know the task.
func (t *tasks) get(id string) (*handle, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if h := t.handles[id]; h != nil {
		return h, nil
	}
	return nil, drivers.ErrTaskNotFound
}

// earlier are the starts of the same task that the plugin knows.
func (t *tasks) earlier(task record) []*handle {
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

func (t *tasks) drop(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.handles, id)
}

// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"fmt"
	"sync"

	"github.com/hashicorp/nomad/plugins/drivers"
)

// tasks are the handles by Nomad's task id.
type tasks struct {
	mu       sync.Mutex
	handles  map[string]*handle
	starting map[string]bool
}

// reserve makes sure that a task is started once. The returned function ends
// the reservation.
func (t *tasks) reserve(id string) (func(), error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.handles[id] != nil || t.starting[id] {
		return nil, fmt.Errorf("task %s is started already", id)
	}
	if t.starting == nil {
		t.starting = map[string]bool{}
	}
	t.starting[id] = true
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

func (t *tasks) drop(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.handles, id)
}

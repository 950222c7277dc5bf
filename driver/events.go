// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"context"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/nomad/drivers/shared/eventer"
	"github.com/hashicorp/nomad/plugins/drivers"
)

// maxEvents is how many events wait for a slow agent before more are dropped.
const maxEvents = 256

// events tells the owners of tasks what happens to them. Nomad's eventer holds
// up whoever emits an event until each agent has taken the one before; a task
// must not wait for that.
type events struct {
	*eventer.Eventer
	log   hclog.Logger
	queue chan *drivers.TaskEvent
}

// newEvents ends with the context.
func newEvents(ctx context.Context, log hclog.Logger) *events {
	e := &events{
		Eventer: eventer.NewEventer(ctx, log),
		log:     log, queue: make(chan *drivers.TaskEvent, maxEvents),
	}
	go func() {
		for {
			select {
			case event := <-e.queue:
				_ = e.EmitEvent(event) // its error is that of the context
			case <-ctx.Done():
				return
			}
		}
	}()
	return e
}

// tell sends an event about a task.
func (e *events) tell(task *drivers.TaskConfig, message string, annotations map[string]string) {
	event := &drivers.TaskEvent{
		TaskID: task.ID, TaskName: task.Name, AllocID: task.AllocID,
		Timestamp: time.Now(), Message: message, Annotations: annotations,
	}
	select {
	case e.queue <- event:
	default:
		e.log.Warn("dropped an event of a task: the agent takes none", "task_id", task.ID, "message", message)
	}
}

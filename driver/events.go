// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"context"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/nomad/drivers/shared/eventer"
	"github.com/hashicorp/nomad/plugins/drivers"
)

// maxEvents limits the queue of events that a slow agent has not received. More
// events are dropped.
const maxEvents = 256

// events sends task events to the agents. Nomad's eventer blocks the sender of
// an event until every agent has received the one before. The queue keeps such
// a delay away from tasks.
type events struct {
	*eventer.Eventer
	log   hclog.Logger
	queue chan *drivers.TaskEvent
}

// newEvents returns an events that works until the context ends.
func newEvents(ctx context.Context, log hclog.Logger) *events {
	e := &events{
		Eventer: eventer.NewEventer(ctx, log),
		log:     log, queue: make(chan *drivers.TaskEvent, maxEvents),
	}
	go func() {
		for {
			select {
			case event := <-e.queue:
				_ = e.EmitEvent(event) // fails only when the context has ended
			case <-ctx.Done():
				return
			}
		}
	}()
	return e
}

// emit queues an event about a task.
func (e *events) emit(task *drivers.TaskConfig, message string, annotations map[string]string) {
	event := &drivers.TaskEvent{
		TaskID: task.ID, TaskName: task.Name, AllocID: task.AllocID,
		Timestamp: time.Now(), Message: message, Annotations: annotations,
	}
	select {
	case e.queue <- event:
	default:
		e.log.Warn("dropped a task event, because the agent does not receive events", "task_id", task.ID, "message", message)
	}
}

// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"fmt"
	"time"

	"github.com/lkl-nomad/nomad-driver-lkl/image"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/bytesize"
)

// pullEventPause is the time between two events about the progress of a download. Nomad
// shows the last ten events of a task.
const pullEventPause = 5 * time.Second

// pullEvents turns the progress of a pull into task events.
type pullEvents struct {
	image string // as in the job
	emit  func(message string)
	stage image.Stage // of the last event
	next  time.Time   // when another event about the same stage is due
}

func (d *Driver) newPullEvents(j job) *pullEvents {
	return &pullEvents{
		image: j.config.Image,
		emit:  func(message string) { d.events.emit(j.task, message, nil) },
	}
}

// report sends an event about each new stage of a pull, and about the progress of a long
// download. A cached image causes no event.
func (p *pullEvents) report(progress image.Progress) {
	message := p.message(progress)
	same := progress.Stage == p.stage
	now := time.Now()
	if message == "" || same && (progress.Stage != image.StageDownloading || now.Before(p.next)) {
		return
	}
	p.stage, p.next = progress.Stage, now.Add(pullEventPause)
	p.emit(message)
}

func (p *pullEvents) message(progress image.Progress) string {
	switch progress.Stage {
	case image.StageWaiting:
		return "Waiting for other pulls before that of image " + p.image
	case image.StageDownloading:
		return fmt.Sprintf("Downloading image %s: %s of %s", p.image, bytesize.Format(progress.Done), bytesize.Format(progress.Total))
	case image.StageBuilding:
		return "Building the root disk of image " + p.image
	}
	return ""
}

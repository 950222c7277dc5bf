// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"fmt"
	"time"

	"github.com/lkl-nomad/nomad-driver-lkl/image"
	"github.com/lkl-nomad/nomad-driver-lkl/image/reference"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/bytesize"
)

// pullEventPause is the time between two events about the progress of a download. Nomad
// shows the last ten events of a task.
const pullEventPause = 5 * time.Second

// pullEvents turns the progress of a pull into task events.
type pullEvents struct {
	image string // as in the job
	verb  string // how the layers come in
	emit  func(message string)
	stage image.Stage // of the last event
	next  time.Time   // when another event about the same stage is due
	retry bool        // an event has reported a failed attempt
}

func (d *Driver) newPullEvents(j job, ref reference.Reference) *pullEvents {
	p := &pullEvents{
		image: j.config.Image, verb: "Downloading",
		emit: func(message string) { d.events.emit(j.task, message, nil) },
	}
	if ref.IsLocal() {
		p.verb = "Reading"
	}
	return p
}

// report sends an event about each new stage of a pull, and about the progress of a long
// download. A cached image has none of these events.
func (p *pullEvents) report(progress image.Progress) {
	if progress.Stage == image.StageRetrying {
		p.reportRetry(progress.Retry)
		return
	}
	message := p.message(progress)
	same := progress.Stage == p.stage
	now := time.Now()
	if message == "" || same && (progress.Stage != image.StageDownloading || now.Before(p.next)) {
		return
	}
	p.stage, p.next = progress.Stage, now.Add(pullEventPause)
	p.emit(message)
}

// reportRetry sends an event about the first failed attempt at the registry. Others would
// hide older events, and the error of the last attempt ends the start.
func (p *pullEvents) reportRetry(failed string) {
	if !p.retry {
		p.retry = true
		p.emit("Image " + p.image + ": " + failed)
	}
}

func (p *pullEvents) message(progress image.Progress) string {
	switch progress.Stage {
	case image.StageWaiting:
		return "Waiting for other pulls before that of image " + p.image
	case image.StageDownloading:
		total := bytesize.Format(progress.Total)
		if p.stage != image.StageDownloading {
			// A short download has no other event, so an amount would look stuck.
			return fmt.Sprintf("%s image %s (%s)", p.verb, p.image, total)
		}
		return fmt.Sprintf("%s image %s: %s of %s", p.verb, p.image, bytesize.Format(progress.Done), total)
	case image.StageBuilding:
		return "Building the root disk of image " + p.image
	}
	return ""
}

// ready sends the event about the image that the task runs. Each start with an image has
// one, because a tag can lead to another image than in the last start.
func (p *pullEvents) ready(entry *image.Entry) {
	message := fmt.Sprintf("Image %s is %s", p.image, entry.Digest)
	if entry.Cached {
		message += " (cached)"
	}
	p.emit(message)
}

// SPDX-License-Identifier: MPL-2.0

package fingerprint

import (
	"context"
	"maps"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/hashicorp/nomad/plugins/shared/structs"
)

// Watch sends a fingerprint at once, and another one whenever it differs from the last.
// It calls read every period and whenever wake delivers, and logs each change. It closes
// the channel when the context ends.
func Watch(
	ctx context.Context, log hclog.Logger, period time.Duration, wake <-chan struct{},
	read func(context.Context) *drivers.Fingerprint,
) <-chan *drivers.Fingerprint {
	out := make(chan *drivers.Fingerprint)
	go func() {
		defer close(out)
		ticker := time.NewTicker(period)
		defer ticker.Stop()
		var last *drivers.Fingerprint
		for ctx.Err() == nil {
			if next := read(ctx); !equal(last, next) {
				select {
				case out <- next:
				case <-ctx.Done():
					return
				}
				logChange(log, last, next)
				last = next
			}
			select {
			case <-ticker.C:
			case <-wake:
			case <-ctx.Done():
			}
		}
	}()
	return out
}

func equal(a, b *drivers.Fingerprint) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Health == b.Health && a.HealthDescription == b.HealthDescription &&
		maps.EqualFunc(a.Attributes, b.Attributes, func(x, y *structs.Attribute) bool {
			return x.GoString() == y.GoString()
		})
}

// logChange logs a changed fingerprint. A healthy first fingerprint is not worth more
// than a debug message.
func logChange(log hclog.Logger, last, next *drivers.Fingerprint) {
	level := hclog.Info
	switch {
	case next.Health != drivers.HealthStateHealthy:
		level = hclog.Warn
	case last == nil:
		level = hclog.Debug
	}
	log.Log(level, "fingerprint", "health", next.Health, "description", next.HealthDescription)
}

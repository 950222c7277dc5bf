// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/nomad/plugins/drivers"

	"github.com/lkl-nomad/nomad-driver-lkl/executor"
)

// The measured figures of a task, under the names that Nomad's drivers use.
var (
	measuredCPU = []string{
		"System Mode", "User Mode", "Percent", "Total Ticks", "Throttled Periods", "Throttled Time",
	}
	measuredMemory = []string{"RSS", "Cache", "Swap", "Usage", "Max Usage"}
)

// TaskStats sends the task's resource usage, at once and then at each interval,
// until the context, the task or the plugin ends.
func (d *Driver) TaskStats(
	ctx context.Context, id string, interval time.Duration,
) (<-chan *drivers.TaskResourceUsage, error) {
	h, err := d.tasks.get(id)
	if err != nil {
		return nil, err
	}
	if !h.running() {
		// An unrecoverable error stops Nomad from calling again.
		return nil, &taskError{err: fmt.Errorf("task %s has ended", id)}
	}
	out := make(chan *drivers.TaskResourceUsage)
	go d.sendStats(ctx, h, max(interval, time.Millisecond), out)
	return out, nil
}

func (d *Driver) sendStats(
	ctx context.Context, h *handle, interval time.Duration, out chan<- *drivers.TaskResourceUsage,
) {
	defer close(out)
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	var last executor.Stats
	for {
		if next, err := h.client.Stats(ctx); err == nil {
			d.reportDropped(h, next.Dropped)
			d.reportFilesEnded(h, next.FilesEnded)
			select {
			case out <- d.cpus.usage(last, next):
			case <-ctx.Done():
				return
			case <-d.ctx.Done():
				return
			}
			last = next
		} else if ctx.Err() == nil && h.running() {
			h.log.Debug("cannot read the resource usage of the task", "error", err)
		}
		select {
		case <-ticker.C:
		case <-h.ended:
			return
		case <-ctx.Done():
			return
		case <-d.ctx.Done():
			return
		}
	}
}

// usage converts two readings to Nomad's figures. Without an earlier reading the
// shares of CPU time are zero.
func (c cpus) usage(last, next executor.Stats) *drivers.TaskResourceUsage {
	share := func(before, after uint64) float64 {
		elapsed := next.Time.Sub(last.Time)
		if last.Time.IsZero() || elapsed <= 0 || after < before {
			return 0
		}
		return float64(after-before) / float64(elapsed.Nanoseconds()) * 100
	}
	percent := share(last.TotalNS+last.ExecutorNS, next.TotalNS+next.ExecutorNS)
	return &drivers.TaskResourceUsage{
		Timestamp: next.Time.UnixNano(),
		ResourceUsage: &drivers.ResourceUsage{
			CpuStats: &drivers.CpuStats{
				Percent:          percent,
				TotalTicks:       c.ticks(percent),
				UserMode:         share(last.UserNS, next.UserNS),
				SystemMode:       share(last.SystemNS, next.SystemNS),
				ThrottledPeriods: next.CPU.Throttled,
				ThrottledTime:    next.CPU.ThrottledNS,
				Measured:         measuredCPU,
			},
			MemoryStats: &drivers.MemoryStats{
				RSS:      next.Memory.RSS,
				Cache:    next.Memory.Cache,
				Swap:     next.Memory.Swap,
				Usage:    next.Memory.Usage,
				MaxUsage: next.Memory.Peak,
				Measured: measuredMemory,
			},
		},
	}
}

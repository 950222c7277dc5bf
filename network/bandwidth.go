// SPDX-License-Identifier: MPL-2.0

package network

import (
	"errors"
	"fmt"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/network/programs"
)

// Limits of Bandwidth, in bits per second.
const (
	MinBandwidth = 64_000
	MaxBandwidth = 32_000_000_000
)

// The shaper of frames to a guest holds them back in a queue, for about queueTime. It passes a
// burst at once, and splits pieces of up to 64 KiB only if they are longer than that.
const (
	burstTime = 10 * time.Millisecond
	minBurst  = 16 << 10 // bytes
	maxBurst  = 4 << 20
	queueTime = 50 * time.Millisecond
	minQueue  = 128 << 10 // bytes
	maxQueue  = 8 << 20   // the memory counts toward no limit of the task
)

// policerBurst is the time at the limit that a guest may make up for after a pause. The policer
// drops frames, because nothing can hold back frames of a guest. On a fast link, TCP cannot send
// slowly enough, loses many segments at once, and stops for 200 ms, the smallest timeout of
// retransmissions. With a burst of 100 ms, it reached half of the rate.
const policerBurst = 250 * time.Millisecond

// limitBandwidth limits the frames to and from a guest. The tap must have its ingress qdisc
// already. Its limits go with the tap.
func (n *namespace) limitBandwidth(tap netlink.Link, b Bandwidth) error {
	if b.Ingress != 0 {
		if err := n.QdiscAdd(shaper(tap.Attrs().Index, b.Ingress)); err != nil {
			return fmt.Errorf("limit the frames to %s: %w", tap.Attrs().Name, classifyShaperError(err))
		}
	}
	if b.Egress == 0 {
		return nil
	}
	program, err := programs.LoadLimiter(b.Egress, policerBurst)
	if err != nil {
		return fmt.Errorf("limit the frames from %s: %w: %w", tap.Attrs().Name, ErrNoBandwidth, err)
	}
	defer func() { _ = program.Close() }() // the classifier keeps the program
	err = n.FilterAdd(&netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{
			LinkIndex: tap.Attrs().Index, Parent: ingressHandle, Priority: limitPriority, Protocol: unix.ETH_P_ALL,
		},
		Fd: program.FD(), Name: policerName(b.Egress), DirectAction: true,
	})
	if err != nil {
		return fmt.Errorf("limit the frames from %s: %w", tap.Attrs().Name, classifyFilterError(err))
	}
	return nil
}

// policerName is the name of the policer in the list of an interface's filters.
func policerName(rate uint64) string { return fmt.Sprintf("limit to %d bit/s", rate) }

// shaper is a token bucket for frames that leave an interface, at a rate in bits per second.
func shaper(linkIndex int, rate uint64) netlink.Qdisc {
	perSecond := float64(rate) / 8 // bytes
	bytesIn := func(d time.Duration, least, most float64) float64 {
		return min(max(perSecond*d.Seconds(), least), most)
	}
	burst := bytesIn(burstTime, minBurst, maxBurst)
	const tick = 64 * time.Nanosecond // the kernel's unit for the time of a burst
	return &netlink.Tbf{
		QdiscAttrs: netlink.QdiscAttrs{LinkIndex: linkIndex, Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT},
		Rate:       rate / 8,
		Limit:      uint32(burst + bytesIn(queueTime, minQueue, maxQueue)),
		Buffer:     uint32(burst / perSecond * float64(time.Second/tick)),
	}
}

// classifyShaperError adds ErrNoBandwidth if the kernel has no sch_tbf.
func classifyShaperError(err error) error {
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP) {
		return fmt.Errorf("%w: %w", ErrNoBandwidth, err)
	}
	return err
}

// SPDX-License-Identifier: MPL-2.0

package network

import (
	"fmt"
	"runtime"
)

// Counters are the packets and bytes that have passed a guest's tap, as the guest sees
// them.
type Counters struct{ ReceivedPackets, ReceivedBytes, SentPackets, SentBytes, DroppedPackets uint64 }

// ReadCounters returns the counters of a tap in a namespace; "" is the calling thread's.
func ReadCounters(netns, tap string) (Counters, error) {
	var c Counters
	read := func(n *namespace) error {
		link, err := n.LinkByName(tap)
		if err != nil {
			return fmt.Errorf("tap %s: %w", tap, err)
		}
		if s := link.Attrs().Statistics; s != nil {
			c = Counters{
				ReceivedPackets: s.TxPackets, ReceivedBytes: s.TxBytes,
				SentPackets: s.RxPackets, SentBytes: s.RxBytes,
				DroppedPackets: s.TxDropped + s.RxDropped,
			}
		}
		return nil
	}
	if netns != "" {
		err := inNamespace(netns, read)
		return c, err
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := withNetlink(read)
	return c, err
}

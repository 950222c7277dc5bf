// SPDX-License-Identifier: MPL-2.0

package network

import (
	"fmt"
	"runtime"

	"github.com/vishvananda/netlink"
)

// Counters are the packets and bytes that have passed a guest's tap, as the guest sees
// them. Sent packets may have been dropped after they were counted.
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
		drops, err := n.qdiscDrops(link)
		c.DroppedPackets += drops
		return err
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

// qdiscDrops returns the packets that traffic control has dropped on an interface: those that
// exceed the guest's bandwidth, and those that the guest must not send.
func (n *namespace) qdiscDrops(link netlink.Link) (drops uint64, err error) {
	qdiscs, err := n.QdiscList(link)
	if err != nil {
		return 0, fmt.Errorf("list the qdiscs of %s: %w", link.Attrs().Name, err)
	}
	for _, q := range qdiscs {
		parent, s := q.Attrs().Parent, q.Attrs().Statistics
		if (parent == netlink.HANDLE_ROOT || parent == netlink.HANDLE_INGRESS) && s != nil && s.Queue != nil {
			drops += uint64(s.Queue.Drops)
		}
	}
	return drops, nil
}

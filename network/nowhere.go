// SPDX-License-Identifier: MPL-2.0

package network

import (
	"crypto/rand"
	"net"
)

// AttachNowhere creates a tap in a network namespace without any other interface but an
// inactive lo. The kernel removes both with the tap's last descriptor.
func AttachNowhere(o Options) (*Tap, error) {
	var tap *Tap
	err := inNewNamespace(func(n *namespace) error {
		f, link, err := n.createTap(MaxMTU, o.Offload)
		if err != nil {
			return err
		}
		tap = &Tap{File: f, Name: link.Attrs().Name, MAC: randomMAC(), MTU: MaxMTU, Offload: o.Offload}
		return nil
	})
	return tap, err
}

// randomMAC returns a unicast MAC of those that are not assigned to manufacturers.
func randomMAC() net.HardwareAddr {
	mac := make(net.HardwareAddr, 6)
	_, _ = rand.Read(mac) // never fails
	mac[0] = mac[0]&^1 | 2
	return mac
}

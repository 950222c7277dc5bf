// SPDX-License-Identifier: MPL-2.0

package network

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/osthread"
)

// CheckHost checks that the kernel can connect guests with these options. It makes the
// same connection as AttachL2 in a network namespace that exists during the call.
// Errors: ErrNoRedirect, ErrNoFilter, ErrNoChecksumCheck.
func CheckHost(o Options) error {
	return inNewNamespace(func(n *namespace) error { return n.connectLoopback(o) })
}

// CheckSharing checks that the kernel can connect guests in shared mode with these
// options. It makes the same connection as AttachShared in a network namespace that exists
// during the call. Errors: ErrNoSharing, ErrNoRedirect, ErrNoFilter, ErrNoChecksumCheck.
func CheckSharing(o Options) error {
	return inNewNamespace(func(n *namespace) error { return n.shareTap(o) })
}

// CheckTranslation checks that the kernel can connect guests in host mode with these
// options. It makes the same connection as AttachHost in a network namespace that exists
// during the call. Errors: ErrNoTables, ErrNoFilter, ErrNoChecksumCheck.
func CheckTranslation(o Options) error {
	return inNewNamespace(func(*namespace) error {
		tap, _, err := AttachHost(o, HostOptions{Subnet: DefaultHostSubnet, Ports: []HostPort{{Port: 80, Target: 80}}})
		if err != nil {
			return err
		}
		return tap.Close()
	})
}

// inNewNamespace calls do in a network namespace that ends with the call's thread.
func inNewNamespace(do func(*namespace) error) error {
	return osthread.Run(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("create a network namespace: %w", err)
		}
		return withNetlink(do)
	})
}

// connectLoopback connects a tap to the loopback interface, and removes it again.
func (n *namespace) connectLoopback(o Options) error {
	link, err := n.LinkByName("lo")
	if err != nil {
		return err
	}
	f, tap, err := n.createTap(MaxMTU, o.Offload)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := n.redirectFromGuest(tap, link, owner{mac: tap.Attrs().HardwareAddr}, o); err != nil {
		return err
	}
	return n.redirectToGuest(link, tap)
}

// shareTap shares a tap in place of the alloc's interface with another tap.
func (n *namespace) shareTap(o Options) error {
	lo, err := n.LinkByName("lo")
	if err != nil {
		return err
	}
	wire, link, err := n.createTap(MaxMTU, o.Offload)
	if err != nil {
		return err
	}
	defer wire.Close()
	f, tap, err := n.createTap(MaxMTU, o.Offload)
	if err != nil {
		return err
	}
	defer f.Close()
	found := &Interface{Name: link.Attrs().Name, MAC: link.Attrs().HardwareAddr}
	return n.share(&sharedGuest{tap: tap, link: link, lo: lo, found: found, Options: o, Sharing: Sharing{Rest: true}})
}

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
	return osthread.Run(func() error {
		// The namespace ends with this thread.
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("create a network namespace: %w", err)
		}
		return withNetlink(func(n *namespace) error { return n.connectLoopback(o) })
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

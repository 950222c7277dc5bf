// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/lkl-nomad/nomad-driver-lkl/network"
)

// A link connects a net device of a guest. The record and the handle keep it, so that the
// next plugin can remove it.
type link struct {
	Device    string      `json:"Device" codec:"Device"` // in the guest's manifest
	Mode      networkMode `json:"Mode" codec:"Mode"`
	Netns     string      `json:"Netns" codec:"Netns"`         // of the tap; "" for the host's
	Interface string      `json:"Interface" codec:"Interface"` // in Netns, to which the device leads; or ""
	Tap       string      `json:"Tap" codec:"Tap"`             // in Netns; "" before it exists
	IP        string      `json:"IP" codec:"IP"`               // "" without an address of this family
	IPv6      string      `json:"IPv6" codec:"IPv6"`
	MAC       string      `json:"MAC" codec:"MAC"`
}

const (
	tapTimeout = 2 * time.Second
	tapPause   = 10 * time.Millisecond
)

// awaitTaps waits until the taps of a guest are gone whose processes are not known. When a
// plugin dies during a start, its executor ends by itself, which takes milliseconds. Only
// then can removeLinks find the filters and rules without a tap. A tap that stays belongs
// to another guest: the kernel reuses names.
func awaitTaps(ctx context.Context, links []link) {
	ctx, cancel := context.WithTimeout(ctx, tapTimeout)
	defer cancel()
	for _, l := range links {
		for l.Tap != "" && l.Mode != modeNone {
			if _, err := network.ReadCounters(l.Netns, l.Tap); err != nil {
				break // no such tap
			}
			select {
			case <-time.After(tapPause):
			case <-ctx.Done():
				return
			}
		}
	}
}

// removeLinks removes the filters and rules of an ended guest's links. The taps went with
// the last process that had them open. Their names may belong to other guests by now, so
// removeLinks passes no name, and the network package removes everything without a tap.
func removeLinks(links []link) error {
	var done []string
	for _, l := range links {
		switch {
		case l.Mode == modeNone || slices.Contains(done, l.Netns):
			continue
		case l.Mode == modeHost:
			if err := network.DetachHost(); err != nil {
				return fmt.Errorf("remove the rules of the device %q: %w", l.Device, err)
			}
		default:
			if err := network.Detach(l.Netns, ""); err != nil {
				return fmt.Errorf("remove the redirection to the device %q: %w", l.Device, err)
			}
		}
		done = append(done, l.Netns)
	}
	return nil
}

// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/shoenig/test/must"
	"github.com/vishvananda/netlink"

	"github.com/lkl-nomad/nomad-driver-lkl/network"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel/lkl"
)

func TestForLegacy_SubstitutesNetworks(t *testing.T) {
	route := func(to, via string) network.Route {
		r := network.Route{Destination: netip.MustParsePrefix(to)}
		if via != "" {
			r.Gateway = netip.MustParseAddr(via)
		}
		return r
	}
	for name, c := range map[string]struct {
		own, gateway string
		routes       []network.Route
		want         string
		notes        []string // contained in the notes, one each
		err          string   // contained in the error
	}{
		"usual":              {own: "10.1.0.5/24", gateway: "10.1.0.1", want: "10.1.0.5/24"},
		"usual IPv6":         {own: "fd01::5/64", gateway: "fd01::1", want: "fd01::5/64"},
		"link-local gateway": {own: "fd01::5/128", gateway: "fe80::1", want: "fd01::5/128"},
		"no gateway":         {own: "10.1.0.5/32", want: "10.1.0.5/31"},
		"ptp": {
			own: "10.1.0.5/32", gateway: "10.1.0.1",
			routes: []network.Route{route("10.1.0.1/32", ""), route("10.1.0.0/24", "10.1.0.1")},
			want:   "10.1.0.5/29", notes: []string{"in 10.1.0.0/29"},
		},
		"IPv6 ptp": {
			own: "fd01::5/128", gateway: "fd01::1",
			routes: []network.Route{route("fd01::1/128", ""), route("fd01::/64", "fd01::1")},
			want:   "fd01::5/125", notes: []string{"in fd01::/125"},
		},
		"other routes": {
			own: "10.1.0.5/24", gateway: "10.1.0.1",
			routes: []network.Route{route("10.9.0.0/16", "10.1.0.9"), route("10.8.0.0/16", ""), route("10.7.0.0/16", "10.1.0.1")},
			want:   "10.1.0.5/24", notes: []string{"no route to 10.9.0.0/16, 10.8.0.0/16"},
		},
		"far gateway":        {own: "10.1.0.5/32", gateway: "169.254.1.1", err: "the gateway 169.254.1.1 is far from the address 10.1.0.5/32"},
		"far IPv6 gateway":   {own: "fd01::5/64", gateway: "fd02::1", err: "the gateway fd02::1 is far"},
		"default route only": {own: "10.1.0.5/24", routes: []network.Route{route("0.0.0.0/0", "")}, err: "has no gateway of its address family"},
	} {
		t.Run(name, func(t *testing.T) {
			a := addresses{routes: c.routes}
			own := netip.MustParsePrefix(c.own)
			var gateway netip.Addr
			if c.gateway != "" {
				gateway = netip.MustParseAddr(c.gateway)
			}
			if own.Addr().Is4() {
				a.v4, a.gateway4 = own, gateway
			} else {
				a.v6, a.gateway6 = own, gateway
			}
			legacy, notes, err := a.forLegacy()
			if c.err != "" {
				must.ErrorContains(t, err, c.err)
				return
			}
			must.NoError(t, err)
			must.Eq(t, c.want, prefixText(legacy.v4)+prefixText(legacy.v6))
			must.SliceEmpty(t, legacy.routes)
			must.SliceLen(t, len(c.notes), notes)
			for i, note := range c.notes {
				must.StrContains(t, notes[i], note)
			}
			config := lkl.Config{
				Interfaces: []lkl.Interface{legacy.lklInterface("tap", &network.Tap{MTU: 1500})},
				Gateway:    legacy.gateway4, Gateway6: legacy.gateway6,
			}
			must.NoError(t, config.Validate(0))
		})
	}
}

func TestMTUNotes_WarnAboutLostDatagrams(t *testing.T) {
	notes := mtuNotes(9000, &network.Tap{MTU: 1500})
	must.SliceLen(t, 1, notes)
	must.StrContains(t, notes[0], "larger datagrams")
	must.SliceEmpty(t, mtuNotes(9000, &network.Tap{MTU: 1500, Offload: true}))
	must.SliceEmpty(t, mtuNotes(1500, &network.Tap{MTU: 1500}))
}

// asPTP changes a network as the CNI plugin ptp does: the peer is the only neighbor.
func (n *testNetwork) asPTP(t *testing.T, mtu int) {
	t.Helper()
	within(t, n.alloc, func(h *netlink.Handle) {
		link, err := h.LinkByName("eth9")
		must.NoError(t, err)
		must.NoError(t, h.LinkSetMTU(link, mtu))
		subnet, err := netlink.ParseIPNet("10.78.0.0/24")
		must.NoError(t, err)
		gateway, err := netlink.ParseIPNet(peerIP + "/32")
		must.NoError(t, err)
		must.NoError(t, h.RouteDel(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: subnet, Scope: netlink.SCOPE_LINK}))
		must.NoError(t, h.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: gateway, Scope: netlink.SCOPE_LINK}))
		must.NoError(t, h.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: subnet, Gw: gateway.IP}))
	})
}

func TestFitNetwork_FitsAddressesOfLegacyGuest(t *testing.T) {
	testenv.Need(t, testenv.Tool("mke2fs"), testenv.Tool("debugfs"))
	p := newTestPlugin(t)
	n := newTestNetwork(t)
	n.asPTP(t, 9000)
	within(t, n.alloc, func(h *netlink.Handle) { addAddress(t, h, "eth9", "10.78.9.9/32") })
	task := p.bridged(t, n, TaskConfig{Kernel: "hello-lkl.spt", Rootfs: "local"})
	messages := p.events(t, task)
	_, _, err := p.StartTask(task)
	must.NoError(t, err)
	must.True(t, p.wait(t, task).Successful())
	waitFor(t, "the console", func() bool { return strings.Contains(console(task), "net tap") })
	must.StrContains(t, console(task), `\"ip\":\"10.78.0.5\",\"masklen\":\"29\"`)
	var neighbors, mtu, other bool
	for !neighbors || !mtu || !other {
		message := <-messages
		other = other || strings.Contains(message, "It does not answer at 10.78.9.9")
		neighbors = neighbors || strings.Contains(message, "reaches no host but its gateway in 10.78.0.0/29")
		mtu = mtu || strings.Contains(message, "The guest's MTU is 1500 bytes, and the network's is 9000")
	}
}

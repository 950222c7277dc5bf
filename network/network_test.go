// SPDX-License-Identifier: MPL-2.0

package network

import (
	"errors"
	"net"
	"os"
	"testing"

	"github.com/shoenig/test/must"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

func TestNetwork_ReportsMissingNamespace(t *testing.T) {
	file, err := os.CreateTemp(t.TempDir(), "left")
	must.NoError(t, err)
	defer file.Close()
	for _, path := range []string{"", "/var/run/netns/none", file.Name(), t.TempDir(), "/proc/self/ns/mnt"} {
		_, err := Inspect(path, "")
		must.ErrorIs(t, err, ErrNoNamespace, must.Sprint(path))
		_, err = AttachL2(path, Options{})
		must.ErrorIs(t, err, ErrNoNamespace, must.Sprint(path))
		must.NoError(t, Detach(path, "lkl0"))
	}
}

func TestAttachL2_CreatesTap(t *testing.T) {
	a := newAlloc(t, 1500)
	tap := a.attach()
	must.Eq(t, "lkl0", tap.Name)
	must.Eq(t, a.mac.String(), tap.MAC.String())
	must.Eq(t, 1500, tap.MTU)
	flags, err := unix.FcntlInt(tap.File.Fd(), unix.F_GETFL, 0)
	must.NoError(t, err)
	must.True(t, flags&unix.O_NONBLOCK != 0, must.Sprint("the executor needs it non-blocking"))
	a.in(a.path, func(n *namespace) error {
		link, err := n.LinkByName(tap.Name)
		must.NoError(t, err)
		must.Eq(t, 1500, link.Attrs().MTU)
		must.True(t, link.Attrs().Flags&net.FlagUp != 0)
		must.True(t, link.(*netlink.Tuntap).NonPersist)
		addresses, err := n.AddrList(link, netlink.FAMILY_ALL)
		must.NoError(t, err)
		must.SliceEmpty(t, addresses)
		return nil
	})
}

func TestAttachL2_LimitsMTU(t *testing.T) {
	for _, c := range []struct{ iface, limit, tap int }{
		{1280, 0, 1280},
		{1500, 0, 1500},
		{9000, 0, 1500},
		{1500, 65535, 1500},
		{9000, 65535, 9000},
		{65535, 65535, MaxTapMTU},
	} {
		a := newAlloc(t, c.iface)
		tap := a.attachWith(Options{MaxMTU: c.limit})
		must.Eq(t, c.tap, tap.MTU)
	}
}

func TestAttachL2_RefusesSecondGuestWithAdvice(t *testing.T) {
	a := newAlloc(t, 1500)
	first := a.attach()
	_, err := AttachL2(a.path, Options{})
	must.ErrorIs(t, err, ErrTaken)
	must.ErrorContains(t, err, "into a separate group")
	must.Eq(t, []string{"lo", "alloc7", "lkl0"}, a.links())
	must.Eq(t, ingressState{exists: true, tapName: first.Name}, a.ingressState())
}

func TestAttachL2_ReplacesRedirectionOfEndedGuest(t *testing.T) {
	a := newAlloc(t, 1500)
	first := a.attach()
	must.NoError(t, first.Close())
	must.Eq(t, []string{"lo", "alloc7"}, a.links())
	must.Eq(t, ingressState{exists: true}, a.ingressState())
	second := a.attach()
	must.Eq(t, ingressState{exists: true, tapName: second.Name}, a.ingressState())
	g := newGuest(t, a, second)
	go serveEcho(listen(t, g.path, "tcp4", guest4+":7"))
	a.echo(t, "tcp4", guest4)
}

func TestAttachL2_RefusesForeignTrafficControl(t *testing.T) {
	a := newAlloc(t, 1500)
	addQdisc := func(kind string, withFilter bool) {
		a.in(a.path, func(n *namespace) error {
			link, err := n.LinkByName(a.name)
			must.NoError(t, err)
			attrs := netlink.QdiscAttrs{LinkIndex: link.Attrs().Index, Handle: ingressHandle, Parent: netlink.HANDLE_INGRESS}
			must.NoError(t, n.QdiscAdd(&netlink.GenericQdisc{QdiscAttrs: attrs, QdiscType: kind}))
			if !withFilter {
				return nil
			}
			return n.FilterAdd(&netlink.U32{
				FilterAttrs: netlink.FilterAttrs{
					LinkIndex: link.Attrs().Index, Parent: ingressHandle, Priority: 1, Protocol: unix.ETH_P_ALL,
				},
				Sel: &netlink.TcU32Sel{Flags: nl.TC_U32_TERMINAL, Keys: []netlink.TcU32Key{{Val: 1, Mask: 1}}},
			})
		})
	}
	removeQdisc := func() {
		a.in(a.path, func(n *namespace) error {
			link, err := n.LinkByName(a.name)
			return errors.Join(err, n.removeIngress(link))
		})
	}
	addQdisc("ingress", true)
	_, err := AttachL2(a.path, Options{})
	must.ErrorIs(t, err, ErrForeign)
	_, err = AttachShared(a.path, Options{}, Sharing{})
	must.ErrorIs(t, err, ErrForeign)
	must.NoError(t, Detach(a.path, "lkl0"))
	must.True(t, a.ingressState().foreign)
	removeQdisc()
	addQdisc("clsact", false)
	_, err = AttachL2(a.path, Options{})
	must.ErrorIs(t, err, ErrForeign)
	must.Eq(t, []string{"lo", "alloc7"}, a.links())
	removeQdisc()
	addQdisc("ingress", false) // as an interrupted attach leaves it
	a.attach()
}

func TestAttachL2_RefusesInterfaceThatIsDown(t *testing.T) {
	a := newAlloc(t, 1500)
	a.in(a.path, func(n *namespace) error {
		link, err := n.LinkByName(a.name)
		return errors.Join(err, n.LinkSetDown(link))
	})
	_, err := AttachL2(a.path, Options{})
	must.ErrorIs(t, err, ErrNoInterface)
	must.Eq(t, []string{"lo", "alloc7"}, a.links())
}

func TestDetach_RemovesRedirectionOfNamedTap(t *testing.T) {
	a := newAlloc(t, 1500)
	tap := a.attach()
	must.NoError(t, Detach(a.path, "lkl5"))
	must.Eq(t, tap.Name, a.ingressState().tapName, must.Sprint("the redirection of another guest must stay"))
	must.NoError(t, Detach(a.path, tap.Name))
	must.Eq(t, ingressState{}, a.ingressState())
	must.NoError(t, tap.Close())
	must.NoError(t, Detach(a.path, tap.Name))
	must.Eq(t, []string{"lo", "alloc7"}, a.links())
	a.echoFromNamespace(t)
}

func TestClassifyRedirectError_NamesMissingModules(t *testing.T) {
	for err, want := range map[error]error{
		unix.ENOENT: ErrNoRedirect, unix.EOPNOTSUPP: ErrNoRedirect, unix.EEXIST: ErrTaken, unix.EPERM: unix.EPERM,
	} {
		must.ErrorIs(t, classifyRedirectError(err), want)
	}
	for err, want := range map[error]error{unix.ENOENT: ErrNoFilter, unix.EOPNOTSUPP: ErrNoFilter, unix.EPERM: unix.EPERM} {
		must.ErrorIs(t, classifyFilterError(err), want)
	}
	for err, want := range map[error]error{unix.ENOENT: ErrNoSharing, unix.EOPNOTSUPP: ErrNoSharing, unix.EEXIST: unix.EEXIST} {
		must.ErrorIs(t, classifySharingError(err), want)
	}
}

func TestOpenTap_OpensExistingTap(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.Tun)
	path := newNamespace(t)
	must.NoError(t, inNamespace(path, func(n *namespace) error {
		_, _, err := OpenTap("tap9", false)
		must.ErrorContains(t, err, "run ip tuntap add tap9 mode tap")
		_, err = n.LinkByName("tap9")
		must.Error(t, err, must.Sprint("OpenTap must not create a tap"))
		must.NoError(t, n.LinkAdd(&netlink.Tuntap{
			LinkAttrs: netlink.LinkAttrs{Name: "tap9"}, Mode: netlink.TUNTAP_MODE_TAP, Flags: unix.IFF_NO_PI,
		}))
		_, _, err = OpenTap("tap9", false)
		must.ErrorIs(t, err, unix.ENETDOWN)
		link, err := n.LinkByName("tap9")
		must.NoError(t, err)
		must.NoError(t, n.LinkSetMTU(link, 1400))
		must.NoError(t, n.LinkSetUp(link))
		f, mtu, err := OpenTap("tap9", false)
		must.NoError(t, err)
		defer f.Close()
		must.Eq(t, 1400, mtu)
		_, _, err = OpenTap("tap9", false)
		must.ErrorContains(t, err, "another process uses the tap")
		return nil
	}))
}

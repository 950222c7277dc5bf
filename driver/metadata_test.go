// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/shoenig/test/must"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// The peer has the address of a metadata service.
func TestTenants_GuestReachesMetadataOnlyIfAllowed(t *testing.T) {
	const metadata = "169.254.169.254"
	for _, mode := range []networkMode{modeL2, modeShared} {
		for value, blocked := range map[string]bool{blockInHostMode: false, blockNever: false, blockAlways: true} {
			p := newTestPluginWith(t, Config{StateDir: t.TempDir(), ImagePaths: []string{guestDir(t)}, BlockMetadata: value})
			n := newTestNetwork(t)
			receivers := map[string]*net.UDPConn{}
			within(t, n.peer, func(h *netlink.Handle) {
				addAddress(t, h, "peer", metadata+"/32")
				for _, address := range []string{metadata, peerIP} {
					conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.ParseIP(address), Port: 7})
					must.NoError(t, err)
					t.Cleanup(func() { _ = conn.Close() })
					must.NoError(t, conn.SetDeadline(time.Now().Add(testenv.Patience)))
					receivers[address] = conn
				}
			})
			task := p.linuxIn(t, n, "../../guest/lkl/testdata/probe.c", TaskConfig{
				NetworkMode: string(mode),
				Args:        strings.Fields("send " + allocIP + "," + metadata + " send " + allocIP + "," + peerIP + " exit 4"),
			})
			_, _, err := p.StartTask(task)
			must.NoError(t, err)
			must.Eq(t, 4, p.wait(t, task).ExitCode, must.Sprint(console(task)))
			_, _, err = receivers[peerIP].ReadFrom(make([]byte, 10))
			must.NoError(t, err)
			if blocked {
				must.False(t, hasDatagram(t, receivers[metadata]))
				continue
			}
			_, _, err = receivers[metadata].ReadFrom(make([]byte, 10))
			must.NoError(t, err)
		}
	}
}

// hasDatagram reports whether a datagram waits in a socket.
func hasDatagram(t *testing.T, conn *net.UDPConn) bool {
	t.Helper()
	raw, err := conn.SyscallConn()
	must.NoError(t, err)
	var received error
	must.NoError(t, raw.Read(func(fd uintptr) bool {
		_, _, received = unix.Recvfrom(int(fd), make([]byte, 10), unix.MSG_DONTWAIT)
		return true
	}))
	return !errors.Is(received, unix.EAGAIN)
}

// SPDX-License-Identifier: MPL-2.0

package network

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// refuses expects an ICMP error in answer to a datagram.
func refuses(t testing.TB, path, address string, port int) {
	t.Helper()
	t.Logf("udp %s %d", address, port)
	c := dial(t, path, "udp", net.JoinHostPort(address, fmt.Sprint(port)))
	_, err := c.Write([]byte("hello"))
	must.NoError(t, err)
	_, err = c.Read(make([]byte, 1))
	must.ErrorIs(t, err, unix.ECONNREFUSED)
}

// answers sends an echo request from a namespace and waits for the reply.
func answers(t testing.TB, path, address string) {
	t.Helper()
	t.Logf("echo %s", address)
	to := netip.MustParseAddr(address)
	family, protocol, request, reply := unix.AF_INET, unix.IPPROTO_ICMP, byte(8), byte(0)
	if to.Is6() {
		family, protocol, request, reply = unix.AF_INET6, unix.IPPROTO_ICMPV6, 128, 129
	}
	var fd int
	must.NoError(t, inNamespace(path, func(*namespace) (err error) {
		fd, err = unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC, protocol)
		return err
	}))
	defer unix.Close(fd)
	patience := unix.NsecToTimeval(testenv.Patience.Nanoseconds())
	must.NoError(t, unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &patience))
	message := []byte{request, 0, 0, 0, 0x6c, 0x6b, 0, 1}
	var socket unix.Sockaddr
	if to.Is6() { // the kernel sets the checksum
		socket = &unix.SockaddrInet6{Addr: to.As16()}
	} else {
		binary.BigEndian.PutUint16(message[2:], checksum(message))
		socket = &unix.SockaddrInet4{Addr: to.As4()}
	}
	must.NoError(t, unix.Sendto(fd, message, 0, socket))
	buffer := make([]byte, 1500)
	for {
		n, from, err := unix.Recvfrom(fd, buffer, 0)
		must.NoError(t, err)
		payload := buffer[:n]
		if to.Is4() {
			payload = payload[20:]
			must.Eq(t, 0, checksum(buffer[:20]))
		}
		if payload[0] == reply && slices.Equal(payload[4:8], message[4:]) {
			switch from := from.(type) {
			case *unix.SockaddrInet4:
				must.Eq(t, to.As4(), from.Addr)
			case *unix.SockaddrInet6:
				must.Eq(t, to.As16(), from.Addr)
			}
			return
		}
	}
}

func TestAttachShared_PassesICMPErrors(t *testing.T) {
	const closed = 9
	for _, f := range sharedFamilies {
		t.Run(f.any, func(t *testing.T) {
			a := newAlloc(t, 1500)
			g := a.share(t, Options{}, declared(guestPort))
			other := a.share(t, Options{}, declared(guestPort+1))
			refuses(t, g.path, f.peer, closed)
			refuses(t, a.path, f.peer, closed)
			refuses(t, a.peer, f.own, guestPort)
			refuses(t, a.peer, f.own, closed)
			for _, address := range []string{f.loopback, f.own} {
				refuses(t, a.path, address, guestPort)
				refuses(t, a.path, address, closed)
			}
			for _, alias := range []string{f.neighborLoopback, f.neighborAddress} {
				refuses(t, g.path, alias, closed)
				refuses(t, g.path, alias, guestPort+1)
				refuses(t, other.path, alias, guestPort)
			}
		})
	}
}

func TestAttachShared_AnswersEchoRequests(t *testing.T) {
	for _, f := range sharedFamilies {
		t.Run(f.any, func(t *testing.T) {
			a := newAlloc(t, 1500)
			first := a.share(t, Options{}, declared(guestPort))
			second := a.share(t, Options{}, declared(guestPort+1))
			for _, path := range []string{first.path, second.path} {
				answers(t, path, f.peer)
				answers(t, path, f.neighborLoopback)
				answers(t, path, f.neighborAddress)
			}
			answers(t, a.peer, f.own)
			answers(t, a.path, f.peer)
			answers(t, a.path, f.loopback)
			answers(t, a.path, f.own)
		})
	}
}

// The datagrams are longer than the MTU. Those of neighbors are not fragmented on the
// loopback interface.
func TestAttachShared_PassesFragments(t *testing.T) {
	data := []byte(strings.Repeat("fragments ", 500))
	for _, f := range sharedFamilies {
		t.Run(f.any, func(t *testing.T) {
			a := newAlloc(t, 1500)
			g := a.share(t, Options{}, declared(guestPort))
			other := a.share(t, Options{}, declared(guestPort+1))
			serve(t, g.path, f.any, guestPort)
			serve(t, other.path, f.any, guestPort+1)
			serve(t, a.path, f.any, neighborPort)
			serve(t, a.peer, f.any, peerPort)
			for _, c := range []struct {
				path, address string
				port          int
			}{
				{a.peer, f.own, guestPort},
				{a.peer, f.own, guestPort + 1},
				{a.peer, f.own, neighborPort},
				{g.path, f.peer, peerPort},
				{a.path, f.peer, peerPort},
				{g.path, f.neighborLoopback, neighborPort},
				{g.path, f.neighborAddress, neighborPort},
				{a.path, f.loopback, guestPort},
				{g.path, f.neighborLoopback, guestPort + 1},
			} {
				t.Logf("%s %d", c.address, c.port)
				socket := dial(t, c.path, "udp", net.JoinHostPort(c.address, fmt.Sprint(c.port)))
				_, err := socket.Write(data)
				must.NoError(t, err)
				back := make([]byte, 1<<16)
				n, err := socket.Read(back)
				must.NoError(t, err)
				must.Eq(t, string(data), string(back[:n]))
			}
		})
	}
}

// exchange sends data to an echo service and compares the digests of both directions.
func exchange(t testing.TB, c net.Conn, size int64) {
	t.Helper()
	sent, back := sha256.New(), sha256.New()
	failed := make(chan error, 1)
	go func() {
		_, err := io.CopyN(io.MultiWriter(c, sent), rand.Reader, size)
		failed <- err
	}()
	_, err := io.CopyN(back, c, size)
	must.NoError(t, errors.Join(err, <-failed))
	must.Eq(t, sent.Sum(nil), back.Sum(nil))
}

// Every direction carries streams, with and without offloads on each side.
func TestAttachShared_PassesStreams(t *testing.T) {
	const size = 8 << 20
	for _, offload := range []bool{false, true} {
		for _, f := range sharedFamilies {
			t.Run(fmt.Sprint(offload, f.any), func(t *testing.T) {
				a := newAlloc(t, 1500)
				g := a.share(t, Options{Offload: offload}, declared(guestPort))
				other := a.share(t, Options{Offload: true}, declared(guestPort+1))
				serve(t, g.path, f.any, guestPort)
				serve(t, other.path, f.any, guestPort+1)
				serve(t, a.path, f.any, neighborPort)
				serve(t, a.peer, f.any, peerPort)
				for _, c := range []struct {
					path, address string
					port          int
				}{
					{a.peer, f.own, guestPort},
					{g.path, f.peer, peerPort},
					{g.path, f.neighborLoopback, neighborPort},
					{a.path, f.loopback, guestPort},
					{g.path, f.neighborAddress, guestPort + 1},
					{other.path, f.neighborLoopback, guestPort},
				} {
					t.Logf("%s %d", c.address, c.port)
					exchange(t, dial(t, c.path, "tcp", net.JoinHostPort(c.address, fmt.Sprint(c.port))), size)
				}
			})
		}
	}
}

// The segment that answers a SYN cookie finds no socket but the one that listens.
func TestAttachShared_NeighborsUseCookies(t *testing.T) {
	for _, f := range sharedFamilies {
		t.Run(f.any, func(t *testing.T) {
			a := newAlloc(t, 1500)
			a.share(t, Options{}, Sharing{Rest: true})
			a.in(a.path, func(*namespace) error {
				const always = "2"
				return os.WriteFile("/proc/sys/net/ipv4/tcp_syncookies", []byte(always), 0)
			})
			serve(t, a.path, f.any, neighborPort)
			reaches(t, a.peer, f.own, neighborPort)
			reaches(t, a.path, f.loopback, neighborPort)
		})
	}
}

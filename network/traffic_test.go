// SPDX-License-Identifier: MPL-2.0

package network

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// listen opens a listening socket in a namespace.
func listen(t testing.TB, path, network, address string) net.Listener {
	t.Helper()
	var l net.Listener
	must.NoError(t, inNamespace(path, func(*namespace) (err error) {
		l, err = net.Listen(network, address)
		return err
	}))
	t.Cleanup(func() { l.Close() })
	return l
}

func dial(t testing.TB, path, network, address string) net.Conn {
	t.Helper()
	var c net.Conn
	must.NoError(t, inNamespace(path, func(*namespace) (err error) {
		c, err = net.DialTimeout(network, address, testenv.Patience)
		return err
	}))
	t.Cleanup(func() { c.Close() })
	must.NoError(t, c.SetDeadline(time.Now().Add(testenv.Patience)))
	return c
}

// serveEcho sends back what each connection receives.
func serveEcho(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			_, _ = io.Copy(c, c) // the test compares the answer
		}()
	}
}

// echo connects from the peer to the guest's echo service at an address.
func (a *alloc) echo(t testing.TB, network, address string) {
	t.Helper()
	c := dial(t, a.peer, network, net.JoinHostPort(address, "7"))
	checkEcho(t, c)
}

func checkEcho(t testing.TB, c net.Conn) {
	t.Helper()
	_, err := c.Write([]byte("hello"))
	must.NoError(t, err)
	back := make([]byte, 5)
	_, err = io.ReadFull(c, back)
	must.NoError(t, err)
	must.Eq(t, "hello", string(back))
}

// echoFromNamespace connects from the peer to the namespace's own stack.
func (a *alloc) echoFromNamespace(t testing.TB) {
	t.Helper()
	go serveEcho(listen(t, a.path, "tcp4", guest4+":9"))
	checkEcho(t, dial(t, a.peer, "tcp4", guest4+":9"))
}

func TestTraffic_GuestReplacesNamespaceStack(t *testing.T) {
	a := newAlloc(t, 1500)
	a.address(a.path, a.name, "10.77.0.3/24")
	a.echoFromNamespace(t) // the peer has the address in its neighbor cache from here on
	tap := a.attach()
	g := newGuest(t, a, tap)
	for _, c := range []struct{ network, address string }{
		{"tcp4", guest4}, {"tcp4", "10.77.0.3"}, {"tcp6", guest6},
	} {
		go serveEcho(listen(t, g.path, c.network, net.JoinHostPort(c.address, "7")))
		a.echo(t, c.network, c.address)
	}
	// The guest reaches the peer.
	go serveEcho(listen(t, a.peer, "tcp4", peer4+":8"))
	checkEcho(t, dial(t, g.path, "tcp4", peer4+":8"))
	go serveEcho(listen(t, a.peer, "tcp6", "["+peer6+"]:8"))
	checkEcho(t, dial(t, g.path, "tcp6", "["+peer6+"]:8"))
	a.ping(t, guest4)

	// A listening socket of the namespace's own stack is no longer reachable.
	own := listen(t, a.path, "tcp4", guest4+":10")
	var refused error
	must.NoError(t, inNamespace(a.peer, func(*namespace) error {
		_, refused = net.DialTimeout("tcp4", guest4+":10", testenv.Patience)
		return nil
	}))
	must.ErrorIs(t, refused, unix.ECONNREFUSED, must.Sprint("the guest's stack must answer"))
	must.NoError(t, own.Close())
}

// ping sends an ICMP echo request from the peer and waits for the answer.
func (a *alloc) ping(t testing.TB, address string) {
	t.Helper()
	var c net.Conn
	must.NoError(t, inNamespace(a.peer, func(*namespace) (err error) {
		c, err = net.Dial("ip4:icmp", address)
		return err
	}))
	defer c.Close()
	must.NoError(t, c.SetDeadline(time.Now().Add(testenv.Patience)))
	request := []byte{8, 0, 0, 0, 0x12, 0x34, 0, 1, 'p', 'i', 'n', 'g'}
	var sum uint32
	for i := 0; i < len(request); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(request[i:]))
	}
	binary.BigEndian.PutUint16(request[2:], ^uint16(sum+sum>>16))
	_, err := c.Write(request)
	must.NoError(t, err)
	answer := make([]byte, 100)
	n, err := c.Read(answer)
	must.NoError(t, err)
	must.True(t, bytes.HasSuffix(answer[:n], []byte("\x12\x34\x00\x01ping")))
}

// The host sends up to 64 KiB at once (GSO). Without offload, the kernel segments it.
func TestTraffic_FramesFitTheGuestsMTU(t *testing.T) {
	for _, tc := range []struct{ iface, limit, mtu int }{
		{1280, 0, 1280},
		{1500, 0, 1500},
		{9000, 0, MaxMTU},
		{9000, 65535, 9000},
		{65535, 65535, MaxTapMTU},
	} {
		t.Run(fmt.Sprintf("%d of %d", tc.mtu, tc.iface), func(t *testing.T) {
			a := newAlloc(t, tc.iface)
			g := newGuest(t, a, a.attachWith(Options{MaxMTU: tc.limit}))
			for network, address := range map[string]string{"tcp4": guest4 + ":7", "tcp6": "[" + guest6 + "]:7"} {
				go serveEcho(listen(t, g.path, network, address))
				c := dial(t, a.peer, network, address)
				const size = 8 << 20
				go func() { _, _ = io.CopyN(c, rand.Reader, size) }()
				_, err := io.CopyN(io.Discard, c, size)
				must.NoError(t, err)
			}
			sendFullFrame(t, a, g, tc.mtu)
			sendSegmented(t, a, g)
			must.LessEq(t, int64(tc.mtu+14), g.longestReceived.Load())
			must.Greater(t, int64(tc.mtu-100), g.longestReceived.Load(), must.Sprint("frames should be full"))
		})
	}
}

// sendFullFrame sends a datagram that fills a frame. TCP fills the largest frames only if its
// receive window has grown to twice their size, which is not certain.
func sendFullFrame(t *testing.T, a *alloc, g *guest, mtu int) {
	t.Helper()
	const headers = 20 + 8 // of IPv4 and UDP
	var receiver net.PacketConn
	must.NoError(t, inNamespace(g.path, func(*namespace) (err error) {
		receiver, err = net.ListenPacket("udp4", guest4+":9")
		return err
	}))
	defer func() { _ = receiver.Close() }()
	must.NoError(t, receiver.SetDeadline(time.Now().Add(testenv.Patience)))
	_, err := dial(t, a.peer, "udp4", guest4+":9").Write(make([]byte, mtu-headers))
	must.NoError(t, err)
	n, _, err := receiver.ReadFrom(make([]byte, 1<<16))
	must.NoError(t, err)
	must.Eq(t, mtu-headers, n)
}

// sendSegmented sends datagrams with UDP_SEGMENT: the kernel has to segment them.
func sendSegmented(t *testing.T, a *alloc, g *guest) {
	t.Helper()
	var receiver net.PacketConn
	must.NoError(t, inNamespace(g.path, func(*namespace) (err error) {
		receiver, err = net.ListenPacket("udp4", guest4+":7")
		return err
	}))
	t.Cleanup(func() { _ = receiver.Close() })
	must.NoError(t, receiver.SetDeadline(time.Now().Add(testenv.Patience)))
	c := dial(t, a.peer, "udp4", guest4+":7").(*net.UDPConn)
	raw, err := c.SyscallConn()
	must.NoError(t, err)
	const segment, count = 1200, 20
	must.NoError(t, errors.Join(raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_SEGMENT, segment)
	}), err))
	_, err = c.Write([]byte(strings.Repeat("x", segment*count)))
	must.NoError(t, err)
	buffer := make([]byte, 1<<16)
	for range count {
		n, _, err := receiver.ReadFrom(buffer)
		must.NoError(t, err)
		must.Eq(t, segment, n)
	}
}

// The namespace's own stack sends nothing on the tap.
func TestTraffic_NamespaceSendsNothingToGuest(t *testing.T) {
	a := newAlloc(t, 1500)
	tap := a.attach()
	// Adding addresses and bringing the link up make a stack announce itself.
	a.address(a.path, a.name, "10.77.0.4/24", "fd77::4/64")
	a.in(a.path, func(n *namespace) error {
		link, err := n.LinkByName(tap.Name)
		return errors.Join(err, n.LinkSetDown(link), n.LinkSetUp(link))
	})
	// This frame arrives after everything that was sent before it.
	mark := []byte("\xff\xff\xff\xff\xff\xff\x02\x00\x00\x00\x00\x01\x88\xb5mark of the end of the test")
	a.in(a.peer, func(n *namespace) error { return sendFrame(n, "peer7", mark) })
	must.NoError(t, tap.File.SetReadDeadline(time.Now().Add(testenv.Patience)))
	frame := make([]byte, 2000)
	for {
		n, err := tap.File.Read(frame)
		must.NoError(t, err)
		if bytes.Equal(frame[:n], mark) {
			return
		}
		// Frames of the peer's neighbor discovery are expected.
		must.NotEq(t, a.mac.String(), net.HardwareAddr(frame[6:12]).String(), must.Sprintf("%x", frame[:n]))
	}
}

func sendFrame(n *namespace, name string, frame []byte) error {
	link, err := n.LinkByName(name)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: link.Attrs().Index})
}

// Frames of an unknown protocol pass unchanged in every size.
func TestTraffic_PassesFramesUnchanged(t *testing.T) {
	a := newAlloc(t, 1500)
	tap := a.attach()
	must.NoError(t, tap.File.SetReadDeadline(time.Now().Add(testenv.Patience)))
	var odd []byte
	for _, size := range []int{42, 60, 64, 1000, 1514} {
		odd = append([]byte("\xff\xff\xff\xff\xff\xff\x02\x00\x00\x00\x00\x01\x88\xb5"), bytes.Repeat([]byte{byte(size)}, size-14)...)
		a.in(a.peer, func(n *namespace) error { return sendFrame(n, "peer7", odd) })
		frame := make([]byte, 2000)
		for {
			n, err := tap.File.Read(frame)
			must.NoError(t, err)
			if binary.BigEndian.Uint16(frame[12:]) == 0x88b5 {
				must.Eq(t, odd, frame[:n])
				break
			}
		}
	}
}

func TestAttachL2_LeaksNothing(t *testing.T) {
	a := newAlloc(t, 1500)
	cycle := func() {
		tap, err := AttachL2(a.path, Options{})
		must.NoError(t, err)
		must.NoError(t, tap.Close())
		must.NoError(t, Detach(a.path, tap.Name))
	}
	var group sync.WaitGroup
	for range 4 { // let the runtime create its threads
		group.Go(func() { _, _ = Inspect(a.path, "") })
	}
	group.Wait()
	cycle()
	files, threads := count(t, "/proc/self/fd"), count(t, "/proc/self/task")
	for range 100 {
		cycle()
	}
	must.LessEq(t, files, count(t, "/proc/self/fd"))
	// The runtime may create a few threads. A leak would be one for each cycle.
	must.LessEq(t, threads+50, count(t, "/proc/self/task"))
	must.Eq(t, []string{"lo", "alloc7"}, a.links())
	must.Eq(t, ingressState{}, a.ingressState())
	// No thread is left in another namespace.
	own, err := os.Readlink("/proc/self/ns/net")
	must.NoError(t, err)
	must.Wait(t, testenv.Eventually(func() error { // the last threads may still exit
		tasks, err := os.ReadDir("/proc/self/task")
		for _, task := range tasks {
			if ns, err := os.Readlink("/proc/self/task/" + task.Name() + "/ns/net"); err == nil && ns != own {
				return fmt.Errorf("thread %s is in %s, not %s", task.Name(), ns, own)
			}
		}
		return err
	}))
}

func count(t *testing.T, dir string) int {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must.NoError(t, err)
	return len(entries)
}

// Several tasks of each of three allocs start at once.
func TestAttachL2_OnlyOneGuestGetsAnAlloc(t *testing.T) {
	allocs := []*alloc{newAlloc(t, 1500), newAlloc(t, 1500), newAlloc(t, 1500)}
	var group sync.WaitGroup
	results := make([][]error, len(allocs))
	var lock sync.Mutex
	for i, a := range allocs {
		for range 5 {
			group.Go(func() {
				tap, err := AttachL2(a.path, Options{})
				if err == nil {
					t.Cleanup(func() { _ = tap.Close() })
				}
				lock.Lock()
				defer lock.Unlock()
				results[i] = append(results[i], err)
			})
		}
	}
	group.Wait()
	for _, errs := range results {
		succeeded := 0
		for _, err := range errs {
			if err == nil {
				succeeded++
				continue
			}
			must.ErrorIs(t, err, ErrTaken)
		}
		must.Eq(t, 1, succeeded)
	}
}

// SPDX-License-Identifier: MPL-2.0

package lkl

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// networkWith returns the default network with additional keys of its interface.
func networkWith(keys map[string]string) map[string]any {
	tap := map[string]string{"name": "tap", "ip": "10.0.0.2", "masklen": "24", "ipv6": "fd00::2", "masklen6": "64"}
	for key, value := range keys {
		tap[key] = value
	}
	return map[string]any{"interfaces": []map[string]string{tap}, "gateway": "10.0.0.1"}
}

// frameCounts are the counters of the tap, from the guest's point of view.
type frameCounts struct{ toGuest, toGuestBytes, fromGuest, fromGuestBytes float64 }

func countFrames(t *testing.T) (f frameCounts) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/net/dev")
	must.NoError(t, err)
	for line := range strings.Lines(string(text)) {
		if name, counts, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == "tap0" {
			var skip int
			_, err := fmt.Sscan(counts, &f.fromGuestBytes, &f.fromGuest, &skip, &skip, &skip, &skip, &skip, &skip,
				&f.toGuestBytes, &f.toGuest)
			must.NoError(t, err)
		}
	}
	return f
}

// echoTCP sends random bytes to the guest's echo server over TCP and requires
// the same bytes back.
func echoTCP(t *testing.T, address string, size int64, seed byte) {
	t.Helper()
	c, err := net.DialTimeout("tcp", address, testenv.Patience)
	must.NoError(t, err)
	defer c.Close()
	must.NoError(t, c.SetDeadline(time.Now().Add(testenv.Patience)))
	sent, back := sha256.New(), sha256.New()
	failed := make(chan error, 1)
	go func() {
		_, err := io.CopyN(io.MultiWriter(c, sent), rand.NewChaCha8([32]byte{seed}), size)
		failed <- errors.Join(err, c.(*net.TCPConn).CloseWrite())
	}()
	n, err := io.Copy(back, c)
	must.NoError(t, errors.Join(err, <-failed))
	must.Eq(t, size, n)
	must.Eq(t, sent.Sum(nil), back.Sum(nil))
}

// echoUDP does the same over UDP, with datagrams of many lengths up to the
// largest, which arrives in fragments.
func echoUDP(t *testing.T, address string) {
	t.Helper()
	c, err := net.Dial("udp", address)
	must.NoError(t, err)
	defer c.Close()
	must.NoError(t, c.SetDeadline(time.Now().Add(testenv.Patience)))
	back := make([]byte, 1<<16)
	for _, size := range []int{0, 1, 2, 3, 63, 1000, 1231, 1232, 1233, 1471, 1472, 1473, 2001, 9000, 65507} {
		data := make([]byte, size)
		_, _ = rand.NewChaCha8([32]byte{byte(size)}).Read(data)
		_, err := c.Write(data)
		must.NoError(t, err)
		n, err := c.Read(back)
		must.NoError(t, err, must.Sprint(size))
		must.Eq(t, data, back[:n])
	}
}

func TestOffload_TransfersDataUnchanged(t *testing.T) {
	if !enterOwnNetwork(t) {
		return
	}
	for _, c := range []struct {
		mtu, memory, connections int
		offload                  bool
	}{{1500, 32, 8, true}, {1500, 32, 8, false}, {1280, 32, 8, true}, {1280, 32, 8, false}, {1500, 12, 2, true}} {
		runIP(t, fmt.Sprintf("link set tap0 mtu %d", c.mtu))
		s := guestSpec{kernel: compileGuest(t, "echo.c"), tap: "tap0", memory: strconv.Itoa(c.memory)}
		keys := map[string]string{"mtu": strconv.Itoa(c.mtu)}
		if c.offload {
			s.options = []string{"--net-offload:tap"}
			keys["offload"] = "1"
		}
		s.config = networkWith(keys)
		g := startGuest(t, s)
		g.expectLine(t, "listening")
		before := countFrames(t)
		for _, address := range []string{"10.0.0.2:7", "[fd00::2]:7"} {
			const size = 16 << 20
			echoTCP(t, address, size, 0)
			echoTCP(t, address, 1, 1)
			var group sync.WaitGroup
			for i := range c.connections {
				group.Go(func() { echoTCP(t, address, size/8+int64(i), byte(i)) })
			}
			group.Wait()
			echoUDP(t, address)
		}
		f := countFrames(t)
		to := (f.toGuestBytes - before.toGuestBytes) / (f.toGuest - before.toGuest)
		from := (f.fromGuestBytes - before.fromGuestBytes) / (f.fromGuest - before.fromGuest)
		t.Logf("%+v: %.0f bytes a frame to the guest, %.0f from it", c, to, from)
		must.Eq(t, c.offload, to > float64(c.mtu+14), must.Sprint("frames to the guest exceed the MTU only with offload"))
		must.Eq(t, c.offload, from > float64(c.mtu+14), must.Sprint("frames from the guest exceed the MTU only with offload"))
		g.sendControl(t, "stop 9")
		g.waitExit(t)
	}
}

// A guest whose configuration does not enable offload must not expect virtio
// headers. The values other than "1" include those of legacy configurations.
func TestOffload_IsOffUnlessConfigured(t *testing.T) {
	if !enterOwnNetwork(t) {
		return
	}
	for _, value := range []string{"", "0", "0xc803"} {
		g := startGuest(t, guestSpec{kernel: compileGuest(t, "echo.c"), tap: "tap0", config: networkWith(map[string]string{"offload": value})})
		g.expectLine(t, "listening")
		echoTCP(t, "10.0.0.2:7", 1<<20, 0)
		g.sendControl(t, "stop 9")
		g.waitExit(t)
	}
}

// A virtioHeader is a struct virtio_net_hdr.
type virtioHeader struct {
	flags, kind                   byte
	length, size, start, checksum uint16
}

func (h virtioHeader) prependTo(frame []byte) []byte {
	b := []byte{h.flags, h.kind}
	for _, field := range []uint16{h.length, h.size, h.start, h.checksum} {
		b = binary.LittleEndian.AppendUint16(b, field)
	}
	return append(b, frame...)
}

// arpRequest returns an ARP request from 10.0.0.1 for the guest's address.
func arpRequest() []byte {
	return []byte("\xff\xff\xff\xff\xff\xff\x02\x00\x00\x00\x00\x01\x08\x06" +
		"\x00\x01\x08\x00\x06\x04\x00\x01\x02\x00\x00\x00\x00\x01\x0a\x00\x00\x01\x00\x00\x00\x00\x00\x00\x0a\x00\x00\x02")
}

// requireAnswersARP sends an ARP request and skips frames up to the guest's
// reply.
func requireAnswersARP(t *testing.T, wire *os.File) {
	t.Helper()
	_, err := wire.Write(virtioHeader{}.prependTo(arpRequest()))
	must.NoError(t, err)
	must.NoError(t, wire.SetReadDeadline(time.Now().Add(testenv.Patience)))
	frame := make([]byte, 1<<17)
	for {
		n, err := wire.Read(frame)
		must.NoError(t, err)
		if n >= 10+42 && string(frame[10+12:10+14]) == "\x08\x06" && frame[10+21] == 2 {
			must.Eq(t, make([]byte, 10), frame[:10], must.Sprint("the header of an ARP reply is zero"))
			must.Eq(t, []byte{10, 0, 0, 2}, frame[10+28:10+32])
			return
		}
	}
}

// sendFrame sends a frame with its header. It blocks while the socket is full.
func sendFrame(t *testing.T, wire *os.File, frame []byte) {
	t.Helper()
	must.NoError(t, wire.SetWriteDeadline(time.Now().Add(testenv.Patience)))
	_, err := wire.Write(frame)
	must.NoError(t, err)
}

// tcpFrame returns an Ethernet frame with a TCP segment for the guest.
func tcpFrame(ipv6 bool, payload int) []byte {
	frame := []byte("\xff\xff\xff\xff\xff\xff\x02\x00\x00\x00\x00\x01\x08\x00" +
		"\x45\x00\x00\x00\x00\x01\x40\x00\x40\x06\x00\x00\x0a\x00\x00\x01\x0a\x00\x00\x02")
	if ipv6 {
		frame = append([]byte("\xff\xff\xff\xff\xff\xff\x02\x00\x00\x00\x00\x01\x86\xdd"+
			"\x60\x00\x00\x00\x00\x00\x06\x40"), append(net.ParseIP("fd00::1"), net.ParseIP("fd00::2")...)...)
	}
	tcp := append([]byte("\x12\x34\x00\x07\x00\x00\x00\x01\x00\x00\x00\x00\x50\x02\xff\xff\x00\x00\x00\x00"), make([]byte, payload)...)
	frame = append(frame, tcp...)
	if ipv6 {
		binary.BigEndian.PutUint16(frame[18:], uint16(len(tcp)))
		return frame
	}
	binary.BigEndian.PutUint16(frame[16:], uint16(20+len(tcp)))
	var sum uint32
	for i := 14; i < 34; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(frame[i:]))
	}
	sum = sum&0xffff + sum>>16
	binary.BigEndian.PutUint16(frame[24:], ^uint16(sum+sum>>16))
	return frame
}

func TestOffload_DropsInvalidHeaders(t *testing.T) {
	ours, theirs := socketPair(t)
	defer theirs.Close()
	g := startGuest(t, guestSpec{
		kernel: compileGuest(t, "echo.c"), tap: "@5", extra: theirs, memory: "16",
		config: networkWith(map[string]string{"offload": "1"}),
	})
	g.expectLine(t, "listening")
	requireAnswersARP(t, ours)
	const needsChecksum, tcp4, udp, tcp6, udpSegments = 1, 1, 3, 4, 5
	random := rand.New(rand.NewPCG(1, 2))
	any16 := func() uint16 { return uint16(random.Uint32N(1 << random.UintN(17))) } // all magnitudes are equally likely
	bodies := [][]byte{arpRequest(), tcpFrame(false, 0), tcpFrame(false, 5000), tcpFrame(true, 1400), tcpFrame(true, 60000), make([]byte, 65549)}
	for _, body := range bodies {
		for _, h := range []virtioHeader{
			{flags: 0xff, kind: 0xff, length: 0xffff, size: 0xffff, start: 0xffff, checksum: 0xffff},
			{flags: needsChecksum, start: 0xffff},
			{flags: needsChecksum, start: 34, checksum: 0xffff},
			{flags: needsChecksum, start: uint16(len(body) - 1)},
			{flags: needsChecksum},
			{kind: tcp4},
			{kind: tcp4, size: 1},
			{kind: tcp4, size: 0xffff},
			{kind: tcp6, size: 1},
			{flags: needsChecksum, kind: tcp4, size: 1, start: 34, checksum: 16},
			{flags: needsChecksum, kind: tcp6, size: 1, start: 34, checksum: 6},
			{flags: needsChecksum, kind: udp, size: 8, start: 34, checksum: 6},
			{flags: needsChecksum, kind: udpSegments, size: 8, start: 34, checksum: 6},
		} {
			sendFrame(t, ours, h.prependTo(body))
		}
		for range 200 {
			h := virtioHeader{
				flags: byte(random.UintN(4)), kind: byte(random.UintN(6)) | byte(random.UintN(2)<<7),
				length: any16(), size: any16(), start: any16(), checksum: any16(),
			}
			sendFrame(t, ours, h.prependTo(body))
		}
		requireAnswersARP(t, ours)
	}
	for size := range 24 { // shorter than the virtio and Ethernet headers
		sendFrame(t, ours, make([]byte, size+1))
	}
	requireAnswersARP(t, ours)
	g.sendControl(t, "stop 9")
	_, status := g.waitExit(t)
	must.Eq(t, 137, status)
}

// SPDX-License-Identifier: MPL-2.0

package network

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"
)

func (a *alloc) attachOffload() *Tap {
	a.t.Helper()
	tap := a.attachWith(Options{Offload: true})
	must.True(a.t, tap.Offload)
	return tap
}

// echoDigest sends 32 MiB to the guest's echo service and compares the digests of both
// directions.
func (a *alloc) echoDigest(t *testing.T, network, address string) {
	t.Helper()
	const size = 32 << 20
	c := dial(t, a.peer, network, address)
	sent, back := sha256.New(), sha256.New()
	failed := make(chan error, 1)
	go func() {
		_, err := io.CopyN(io.MultiWriter(c, sent), rand.NewChaCha8([32]byte{}), size)
		failed <- err
	}()
	_, err := io.CopyN(back, c, size)
	must.NoError(t, errors.Join(err, <-failed))
	must.Eq(t, sent.Sum(nil), back.Sum(nil))
}

// TCP segments longer than the MTU, up to 64 KiB, pass unsegmented in both directions. UDP datagrams that
// the host sends with UDP_SEGMENT are segmented, because the guest's Linux does not
// accept them.
func TestOffload_PassesTCPUnsegmented(t *testing.T) {
	for _, mtu := range []int{1280, 1500, 9000} {
		t.Run(fmt.Sprint(mtu), func(t *testing.T) {
			a := newAlloc(t, mtu)
			tap := a.attachOffload()
			must.Eq(t, min(mtu, MaxMTU), tap.MTU)
			g := newGuest(t, a, tap)
			for network, address := range map[string]string{"tcp4": guest4 + ":7", "tcp6": "[" + guest6 + "]:7"} {
				g.longestReceived.Store(0)
				g.longestSent.Store(0)
				go serveEcho(listen(t, g.path, network, address))
				a.echoDigest(t, network, address)
				fullFrame := int64(vnetHeaderSize + 14 + mtu) // no frame is longer without offload
				must.Greater(t, fullFrame, g.longestReceived.Load())
				must.Greater(t, fullFrame, g.longestSent.Load())
			}
			g.longestReceived.Store(0)
			sendSegmented(t, a, g)
			must.LessEq(t, int64(vnetHeaderSize+14+20+8+1200), g.longestReceived.Load())
		})
	}
}

// The kernel validates the virtio headers that a guest writes.
func TestOffload_KernelRefusesInvalidHeaders(t *testing.T) {
	a := newAlloc(t, 1500)
	tap := a.attachOffload()
	frame := append([]byte("\xff\xff\xff\xff\xff\xff\x02\x00\x00\x00\x00\x01\x08\x00\x45"), make([]byte, 1000)...)
	for header, want := range map[string]error{
		"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00": nil,         // no offload
		"\x00\x00\xff\xff\x00\x00\x00\x00\x00\x00": unix.EINVAL, // header length beyond the frame
		"\x01\x00\x00\x00\x00\x00\xff\xff\x00\x00": unix.EINVAL, // checksum offset beyond the frame
		"\x01\x00\x00\x00\x00\x00\x22\x00\xff\xff": unix.EINVAL,
		"\x01\x01\x36\x00\x00\x00\x22\x00\x10\x00": unix.EINVAL, // segment size 0
		"\x00\x7f\x36\x00\x01\x00\x00\x00\x00\x00": unix.EINVAL, // unknown segmentation type
	} {
		_, err := tap.File.WriteString(header + string(frame))
		must.ErrorIs(t, err, want, must.Sprintf("%x", header))
	}
	for size := range vnetHeaderSize + 14 {
		_, err := tap.File.Write(make([]byte, size))
		must.ErrorIs(t, err, unix.EINVAL, must.Sprint(size))
	}
	// Whichever random frames the kernel accepts, the network keeps working.
	random := rand.NewChaCha8([32]byte{1})
	data := make([]byte, vnetHeaderSize+1500)
	for range 10000 {
		_, _ = random.Read(data)
		copy(data[vnetHeaderSize+12:], []byte{8, 0, 0x45})
		_, _ = tap.File.Write(data)
	}
	g := newGuest(t, a, tap)
	go serveEcho(listen(t, g.path, "tcp4", guest4+":7"))
	a.echo(t, "tcp4", guest4)
}

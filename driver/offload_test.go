// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"github.com/shoenig/test/must"
	"github.com/vishvananda/netlink"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// With the feature offload, Linux sends and receives segments larger than the
// MTU through the alloc's interface.
func TestLinux_OffloadsSegmentation(t *testing.T) {
	for _, mtu := range []int{1500, 1300} {
		t.Run(fmt.Sprint(mtu), func(t *testing.T) { checkOffload(t, mtu) })
	}
	t.Run("without a control device", func(t *testing.T) {
		t.Setenv("LKL_MANIFEST", "testdata/other-devices.json")
		checkOffload(t, 1500)
	})
}

func checkOffload(t *testing.T, mtu int) {
	p := newTestPlugin(t)
	n := newTestNetwork(t)
	within(t, n.peer, func(h *netlink.Handle) { setMTU(t, h, "peer", mtu) })
	within(t, n.alloc, func(h *netlink.Handle) { setMTU(t, h, "eth9", mtu) })
	task := p.linuxIn(t, n, "../../guest/lkl/testdata/echo.c", TaskConfig{})
	_, _, err := p.StartTask(task)
	must.NoError(t, err)
	waitForLine(t, task, "listening")

	var c net.Conn
	within(t, n.peer, func(*netlink.Handle) {
		c, err = net.DialTimeout("tcp", net.JoinHostPort(allocIP, "7"), testenv.Patience)
	})
	must.NoError(t, err)
	defer c.Close()
	must.NoError(t, c.SetDeadline(time.Now().Add(testenv.Patience)))
	const size = 32 << 20
	sent, back := sha256.New(), sha256.New()
	failed := make(chan error, 1)
	go func() {
		_, err := io.CopyN(io.MultiWriter(c, sent), rand.NewChaCha8([32]byte{}), size)
		failed <- err
	}()
	_, err = io.CopyN(back, c, size)
	must.NoError(t, errors.Join(err, <-failed))
	must.Eq(t, sent.Sum(nil), back.Sum(nil))
	within(t, n.alloc, func(h *netlink.Handle) {
		link, err := h.LinkByName("eth9")
		must.NoError(t, err)
		s := link.Attrs().Statistics
		fullFrame := uint64(mtu + 14) // no frame is longer without offload
		must.Greater(t, fullFrame, s.RxBytes/s.RxPackets, must.Sprint("bytes per frame to the guest"))
		must.Greater(t, fullFrame, s.TxBytes/s.TxPackets, must.Sprint("bytes per frame from the guest"))
	})
}

func setMTU(t *testing.T, h *netlink.Handle, name string, mtu int) {
	link, err := h.LinkByName(name)
	must.NoError(t, err)
	must.NoError(t, h.LinkSetMTU(link, mtu))
}

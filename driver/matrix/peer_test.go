// SPDX-License-Identifier: MPL-2.0

package matrix

import (
	"bytes"
	crand "crypto/rand"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/shoenig/test/must"
	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/net/icmp"
	xipv4 "golang.org/x/net/ipv4"
	xipv6 "golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// pause is the time after which a lost packet is sent again.
const pause = time.Second

// serveEcho serves echo for TCP and UDP in a namespace.
func serveEcho(n *namespace, address string) {
	l, c := n.listen(address), n.listenPacket("udp", address)
	go echoConnections(l)
	go echoDatagrams(c)
}

func echoConnections(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			_, _ = io.Copy(c, c) // the client compares the answer
		}()
	}
}

func echoDatagrams(c net.PacketConn) {
	data := make([]byte, 1<<16)
	for {
		n, from, err := c.ReadFrom(data)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			_, _ = c.WriteTo(data[:n], from) // the client repeats lost datagrams
		}
	}
}

// exchangeStream sends data to an echo server, and compares the answer.
func exchangeStream(t *testing.T, c net.Conn, size int) {
	t.Helper()
	must.NoError(t, c.SetDeadline(time.Now().Add(testenv.Patience)))
	data := bytes.Repeat([]byte(crand.Text()), size/len(crand.Text())+1)
	sent := make(chan error, 1)
	go func() {
		_, err := c.Write(data)
		sent <- err
	}()
	answer := make([]byte, len(data))
	_, err := io.ReadFull(c, answer)
	must.NoError(t, err)
	must.NoError(t, <-sent)
	must.True(t, bytes.Equal(data, answer))
}

// exchangeDatagram sends a datagram to an echo server until it returns. EMSGSIZE means that
// a router has reported a smaller MTU, so that the next datagram is sent in smaller
// fragments.
func exchangeDatagram(c net.Conn, size int) error {
	data := bytes.Repeat([]byte(crand.Text()), size/len(crand.Text())+1)[:size]
	answer := make([]byte, 1<<16)
	for end := time.Now().Add(testenv.Patience); time.Now().Before(end); {
		if _, err := c.Write(data); err != nil {
			return err
		}
		if err := c.SetReadDeadline(time.Now().Add(pause)); err != nil {
			return err
		}
		for {
			n, err := c.Read(answer)
			if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, unix.EMSGSIZE) {
				break
			}
			if err != nil {
				return err
			}
			if bytes.Equal(data, answer[:n]) {
				return nil
			}
		}
	}
	return os.ErrDeadlineExceeded
}

// ping sends echo requests from a namespace until a reply comes.
func ping(t *testing.T, from *namespace, f *family, to string, size int) {
	t.Helper()
	c := from.listenPacket(map[*family]string{ipv4: "ip4:icmp", ipv6: "ip6:ipv6-icmp"}[f],
		map[*family]string{ipv4: "0.0.0.0", ipv6: "::"}[f])
	body := &icmp.Echo{ID: rand.IntN(1 << 16), Seq: 1, Data: bytes.Repeat([]byte("p"), size)}
	request, reply, protocol := icmp.Type(xipv4.ICMPTypeEcho), icmp.Type(xipv4.ICMPTypeEchoReply), 1
	if f == ipv6 {
		request, reply, protocol = xipv6.ICMPTypeEchoRequest, xipv6.ICMPTypeEchoReply, 58
	}
	message, err := (&icmp.Message{Type: request, Body: body}).Marshal(nil)
	must.NoError(t, err)
	answer := make([]byte, 1<<16)
	for end := time.Now().Add(testenv.Patience); time.Now().Before(end); {
		_, err := c.WriteTo(message, &net.IPAddr{IP: net.ParseIP(to)})
		must.NoError(t, err)
		must.NoError(t, c.SetReadDeadline(time.Now().Add(pause)))
		for {
			n, _, err := c.ReadFrom(answer)
			if err != nil {
				must.ErrorIs(t, err, os.ErrDeadlineExceeded)
				break
			}
			parsed, err := icmp.ParseMessage(protocol, answer[:n])
			if err != nil || parsed.Type != reply {
				continue
			}
			if echo, ok := parsed.Body.(*icmp.Echo); ok && echo.ID == body.ID && bytes.Equal(echo.Data, body.Data) {
				return
			}
		}
	}
	t.Fatalf("no reply to a ping of %s with %d bytes", to, size)
}

// The names that serveNames knows have these addresses.
var knownNames = map[string][]string{"web.test": {"192.0.2.80", "2001:db8::80"}}

// serveNames serves DNS for UDP.
func serveNames(n *namespace, address string) {
	c := n.listenPacket("udp", address)
	go func() {
		query := make([]byte, 1<<16)
		for {
			size, from, err := c.ReadFrom(query)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if answer, err := answerQuery(query[:size]); err == nil {
				_, _ = c.WriteTo(answer, from) // the resolver repeats a lost query
			}
		}
	}()
}

func answerQuery(query []byte) ([]byte, error) {
	var m dnsmessage.Message
	if err := m.Unpack(query); err != nil {
		return nil, err
	}
	if len(m.Questions) != 1 {
		return nil, fmt.Errorf("%d questions", len(m.Questions))
	}
	q := m.Questions[0]
	m.Response, m.RecursionAvailable, m.Additionals = true, true, nil
	addresses, ok := knownNames[strings.TrimSuffix(q.Name.String(), ".")]
	if !ok {
		m.RCode = dnsmessage.RCodeNameError
	}
	for _, text := range addresses {
		header := dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 60}
		switch a := netip.MustParseAddr(text); {
		case a.Is4() && q.Type == dnsmessage.TypeA:
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: header, Body: &dnsmessage.AResource{A: a.As4()}})
		case a.Is6() && q.Type == dnsmessage.TypeAAAA:
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: header, Body: &dnsmessage.AAAAResource{AAAA: a.As16()}})
		}
	}
	return m.Pack()
}

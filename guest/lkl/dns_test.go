// SPDX-License-Identifier: MPL-2.0

package lkl

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/shoenig/test"
	"github.com/shoenig/test/must"
	"golang.org/x/net/dns/dnsmessage"
)

// maxDatagram is the largest answer over UDP, as in RFC 1035. A longer one is cut to its
// header, and the client asks again over TCP.
const maxDatagram = 512

// A nameServer answers queries of the types A and TXT on port 53.
type nameServer struct {
	addresses map[string][]string // by name; a name that is not here does not exist
	texts     map[string]int      // number of strings of 200 bytes, by name
	sync.Mutex
	seen map[string]bool // names and protocols of the queries, such as "a.test. tcp"
}

// serve starts the server on an address of the test's network.
func (s *nameServer) serve(t *testing.T, ip string) {
	t.Helper()
	s.seen = map[string]bool{}
	packets, err := net.ListenPacket("udp", ip+":53")
	must.NoError(t, err)
	streams, err := net.Listen("tcp", ip+":53")
	must.NoError(t, err)
	var running sync.WaitGroup
	running.Go(func() { s.serveUDP(t, packets) })
	running.Go(func() { s.serveTCP(t, streams) })
	t.Cleanup(func() {
		_, _ = packets.Close(), streams.Close()
		running.Wait()
	})
}

func (s *nameServer) serveUDP(t *testing.T, c net.PacketConn) {
	query := make([]byte, 1<<16)
	for {
		n, from, err := c.ReadFrom(query)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		answer, err := s.answer(query[:n], "udp")
		if len(answer) > maxDatagram {
			answer, err = truncated(query[:n])
		}
		test.NoError(t, err)
		_, _ = c.WriteTo(answer, from)
	}
}

func (s *nameServer) serveTCP(t *testing.T, l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		test.NoError(t, s.serveStream(c))
		_ = c.Close()
	}
}

// serveStream answers one query. The length of each message precedes it.
func (s *nameServer) serveStream(c net.Conn) error {
	var length uint16
	if err := binary.Read(c, binary.BigEndian, &length); err != nil {
		return err
	}
	query := make([]byte, length)
	if _, err := io.ReadFull(c, query); err != nil {
		return err
	}
	answer, err := s.answer(query, "tcp")
	if err != nil {
		return err
	}
	_, err = c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...))
	return err
}

// response returns the beginning of an answer to a query.
func response(query []byte) (m dnsmessage.Message, err error) {
	if err := m.Unpack(query); err != nil {
		return m, err
	}
	if len(m.Questions) != 1 {
		return m, fmt.Errorf("%d questions", len(m.Questions))
	}
	m.Response, m.RecursionAvailable, m.Additionals = true, true, nil
	return m, nil
}

// truncated answers a query without records, with the bit that says so.
func truncated(query []byte) ([]byte, error) {
	m, err := response(query)
	if err != nil {
		return nil, err
	}
	m.Truncated = true
	return m.Pack()
}

func (s *nameServer) answer(query []byte, protocol string) ([]byte, error) {
	m, err := response(query)
	if err != nil {
		return nil, err
	}
	q := m.Questions[0]
	s.Lock()
	s.seen[q.Name.String()+" "+protocol] = true
	s.Unlock()
	addresses, known := s.addresses[q.Name.String()]
	if !known {
		m.RCode = dnsmessage.RCodeNameError
	}
	header := dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 60}
	for _, a := range addresses {
		if q.Type == dnsmessage.TypeA {
			body := &dnsmessage.AResource{A: [4]byte(net.ParseIP(a).To4())}
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: header, Body: body})
		}
	}
	for range s.texts[q.Name.String()] {
		if q.Type == dnsmessage.TypeTXT {
			body := &dnsmessage.TXTResource{TXT: []string{strings.Repeat("t", 200)}}
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: header, Body: body})
		}
	}
	return m.Pack()
}

// resolve runs a guest that resolves a name, and returns its output.
func resolve(t *testing.T, resolvConf, name string) []string {
	t.Helper()
	lines, status := runGuest(t, guestSpec{
		kernel: compileGuest(t, "resolve.c"), tap: "tap0", config: networkWith(nil),
		root: buildImage(t, 16, map[string]string{"etc/resolv.conf": resolvConf}),
		args: []string{name},
	})
	must.Eq(t, 0, status)
	must.Len(t, 2, lines)
	return lines
}

func TestResolver_AsksAgainOverTCP(t *testing.T) {
	if !enterOwnNetwork(t) {
		return
	}
	s := &nameServer{addresses: map[string][]string{"big.test.": nil}, texts: map[string]int{"big.test.": 10}}
	for i := range 40 {
		s.addresses["big.test."] = append(s.addresses["big.test."], fmt.Sprintf("192.0.2.%d", i+1))
	}
	s.serve(t, "10.0.0.1")
	lines := resolve(t, "nameserver 10.0.0.1\n", "big.test")
	test.StrHasPrefix(t, "big.test: 40 from 192.0.2.", lines[0])
	var size int
	_, err := fmt.Sscanf(lines[1], "big.test: text of %d bytes", &size)
	test.NoError(t, err)
	test.Greater(t, 10*200, size)
	test.True(t, s.seen["big.test. tcp"])
}

// A search list of 1,000 bytes has an effect up to its last domain.
func TestResolver_UsesLongSearchList(t *testing.T) {
	if !enterOwnNetwork(t) {
		return
	}
	var search strings.Builder
	for i := range 24 {
		fmt.Fprintf(&search, " %s%02d.test", strings.Repeat("s", 35), i)
	}
	search.WriteString(" last.test")
	s := &nameServer{addresses: map[string][]string{"web.last.test.": {"192.0.2.80"}}}
	s.serve(t, "10.0.0.1")
	lines := resolve(t, "nameserver 10.0.0.1\nsearch"+search.String()+"\n", "web")
	test.Eq(t, "web: 1 from 192.0.2.80", lines[0])
	test.MapLen(t, 24+1+1, s.seen) // "web" alone is the query for a text
}

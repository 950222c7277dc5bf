// SPDX-License-Identifier: MPL-2.0

package guest

import (
	"encoding/hex"
	"fmt"
	"math/rand"
	"strings"
	"testing"

	"github.com/shoenig/test"
)

// A parsedRequest is a request that the parser has accepted.
type parsedRequest struct {
	length         int // of the head
	method, target string
	keep, expects  bool
	body           uint64
}

// String formats the request as testdata/parsers.c prints it.
func (r parsedRequest) String() string {
	path, query, _ := strings.Cut(r.target, "?")
	asDigit := map[bool]int{true: 1}
	return fmt.Sprintf("%d %x %x?%x %d %d %d", r.length, r.method, path, query, asDigit[r.keep], asDigit[r.expects], r.body)
}

func TestHTTP_ParsesRequests(t *testing.T) {
	program := compileParserProgram(t)
	const host = "Host: x\r\n"
	cases := []struct{ name, in, want string }{
		{"plain", "GET / HTTP/1.1\r\n" + host + "\r\n", parsedRequest{27, "GET", "/", true, false, 0}.String()},
		{"more follows", "GET / HTTP/1.1\r\n" + host + "\r\nGET", parsedRequest{27, "GET", "/", true, false, 0}.String()},
		{"query", "GET /a?b=c?d HTTP/1.1\r\n" + host + "\r\n", parsedRequest{34, "GET", "/a?b=c?d", true, false, 0}.String()},
		{"close", "GET / HTTP/1.1\r\n" + host + "connection: a, CLOSE\r\n\r\n", parsedRequest{49, "GET", "/", false, false, 0}.String()},
		{"1.0", "GET / HTTP/1.0\r\n\r\n", parsedRequest{18, "GET", "/", false, false, 0}.String()},
		{"1.0 kept", "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", parsedRequest{42, "GET", "/", true, false, 0}.String()},
		{"body", "POST / HTTP/1.1\r\n" + host + "Content-Length: 12\r\n\r\n", parsedRequest{48, "POST", "/", true, false, 12}.String()},
		{"same length twice", "POST / HTTP/1.1\r\n" + host + "Content-Length: 1\r\nContent-Length: 1\r\n\r\n", parsedRequest{66, "POST", "/", true, false, 1}.String()},
		{"expect", "PUT / HTTP/1.1\r\n" + host + "Expect: 100-continue\r\n\r\n", parsedRequest{49, "PUT", "/", true, true, 0}.String()},
		{"whole URL", "GET http://h:1/p HTTP/1.1\r\n" + host + "\r\n", parsedRequest{38, "GET", "/p", true, false, 0}.String()},
		{"line feeds", "GET / HTTP/1.1\nHost: x\n\n", parsedRequest{24, "GET", "/", true, false, 0}.String()},
		{"empty lines before", "\r\n\nGET / HTTP/1.0\n\n", parsedRequest{19, "GET", "/", false, false, 0}.String()},

		{"nothing", "", "0"},
		{"half a line", "GET / HT", "0"},
		{"no empty line", "GET / HTTP/1.1\r\nHost: x\r\n", "0"},
		{"nothing but empty lines", "\r\n\r\n\n", "0"},

		{"no host", "GET / HTTP/1.1\r\n\r\n", "-400"},
		{"two hosts", "GET / HTTP/1.1\r\n" + host + host + "\r\n", "-400"},
		{"no version", "GET /\r\n\r\n", "-400"},
		{"version 2", "GET / HTTP/2.0\r\n\r\n", "-505"},
		{"control character", "GET /\x01 HTTP/1.1\r\n" + host + "\r\n", "-400"},
		{"carriage return alone", "GET / HTTP/1.1\r\nA: b\rc\r\n" + host + "\r\n", "-400"},
		{"NUL", "GET / HTTP/1.1\r\nA: \x00\r\n" + host + "\r\n", "-400"},
		{"no path", "GET x HTTP/1.1\r\n" + host + "\r\n", "-400"},
		{"asterisk", "OPTIONS * HTTP/1.1\r\n" + host + "\r\n", "-405"},
		{"blank before colon", "GET / HTTP/1.1\r\nHost : x\r\n\r\n", "-400"},
		{"folded line", "GET / HTTP/1.1\r\n" + host + "A: b\r\n c\r\n\r\n", "-400"},
		{"no colon", "GET / HTTP/1.1\r\n" + host + "nonsense\r\n\r\n", "-400"},
		{"chunks", "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n", "-501"},
		{"chunks and length", "POST / HTTP/1.1\r\n" + host + "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", "-400"},
		{"two lengths", "POST / HTTP/1.1\r\n" + host + "Content-Length: 1\r\nContent-Length: 2\r\n\r\n", "-400"},
		{"negative length", "POST / HTTP/1.1\r\n" + host + "Content-Length: -1\r\n\r\n", "-400"},
		{"signed length", "POST / HTTP/1.1\r\n" + host + "Content-Length: +1\r\n\r\n", "-400"},
		{"no length", "POST / HTTP/1.1\r\n" + host + "Content-Length:\r\n\r\n", "-400"},
		{"endless length", "POST / HTTP/1.1\r\n" + host + "Content-Length: 18446744073709551616\r\n\r\n", "-400"},
	}
	var inputs []string
	for _, c := range cases {
		inputs = append(inputs, c.in)
	}
	for i, line := range runParser(t, program, "http", inputs) {
		test.Eq(t, cases[i].want, line, test.Sprint(cases[i].name))
	}
}

// The parser must not accept or reject a request before its head is complete.
func TestHTTP_WaitsForCompleteHead(t *testing.T) {
	program := compileParserProgram(t)
	const whole = "POST /x?y HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n"
	var inputs []string
	for n := range len(whole) {
		inputs = append(inputs, whole[:n])
	}
	for i, line := range runParser(t, program, "http", inputs) {
		test.Eq(t, "0", line, test.Sprintf("%q", inputs[i]))
	}
}

func TestHTTP_SurvivesMutatedRequests(t *testing.T) {
	program := compileParserProgram(t)
	const whole = "POST http://h/x?y=1&n=2 HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nConnection: a, close\r\n\r\nabc"
	r := rand.New(rand.NewSource(1))
	var inputs []string
	for range 5000 {
		inputs = append(inputs, mutate(r, whole, "\r\n \t:/?*,.0129\x00\x7f\xffA"))
	}
	for i, line := range runParser(t, program, "http", inputs) {
		var length int
		var method string
		n, _ := fmt.Sscanf(line, "%d %s", &length, &method)
		if n < 2 {
			continue
		}
		// The input must begin with the method that the parser found.
		name, err := hex.DecodeString(method)
		test.NoError(t, err)
		test.StrHasPrefix(t, string(name), strings.TrimLeft(inputs[i], "\r\n"))
	}
}

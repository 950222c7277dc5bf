// SPDX-License-Identifier: MPL-2.0

package guest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shoenig/test"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

const httpdAddress = "10.0.0.2:80"

// enterOwnNetwork runs the test again in a private network namespace. It returns
// true there, and false in the original process: see testenv.OwnNetwork.
func enterOwnNetwork(t *testing.T) bool {
	t.Helper()
	testenv.Guest(t, "httpd.spt")
	testenv.Plugin(t)
	return testenv.OwnNetwork(t, 5*testenv.Patience)
}

// startHTTPD runs httpd until the test ends.
func startHTTPD(t *testing.T, args ...string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := guestCommand(ctx, t, []string{"--net:tap=tap0"}, "httpd.spt", args...)
	r, w, err := os.Pipe()
	must.NoError(t, err)
	cmd.Stdout, cmd.Stderr = w, w
	must.NoError(t, cmd.Start())
	must.NoError(t, w.Close())

	ready, done := make(chan string, 1), make(chan struct{})
	go func() {
		defer close(done)
		lines := bufio.NewReader(r)
		first, _ := lines.ReadString('\n')
		ready <- first
		_, _ = io.Copy(io.Discard, lines)
	}()
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait()
		<-done
		_ = r.Close()
	})
	must.StrHasPrefix(t, "httpd: listening on", <-ready)
}

func getPage(t *testing.T, url string) (int, string) {
	t.Helper()
	client := http.Client{Timeout: testenv.Patience}
	defer client.CloseIdleConnections()
	resp, err := client.Get(url)
	must.NoError(t, err)
	body, err := io.ReadAll(resp.Body)
	must.NoError(t, err)
	must.NoError(t, resp.Body.Close())
	return resp.StatusCode, string(body)
}

// exchange sends bytes and returns all that the guest answers until it closes
// the connection. It sends and reads at the same time: a guest that cannot send
// its answers accepts no more requests.
func exchange(t *testing.T, request string) string {
	t.Helper()
	c := dial(t)
	written := make(chan error, 1)
	go func() {
		_, err := io.WriteString(c, request)
		written <- err
	}()
	answer, err := io.ReadAll(c)
	must.NoError(t, errors.Join(err, <-written))
	return string(answer)
}

func dial(t *testing.T) *net.TCPConn {
	t.Helper()
	c, err := net.DialTimeout("tcp", httpdAddress, testenv.Patience)
	must.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	must.NoError(t, c.SetDeadline(time.Now().Add(testenv.Patience)))
	return c.(*net.TCPConn)
}

func TestHTTPD_ServesPages(t *testing.T) {
	if !enterOwnNetwork(t) {
		return
	}
	startHTTPD(t, "ip=10.0.0.2/24", "gw=10.0.0.1", "ip6=fd00::2/64")
	for _, c := range []struct {
		url, body string
		status    int
	}{
		{"http://10.0.0.2/", "httpd on Solo5 spt, up ", 200},
		{"http://10.0.0.2/health", "ok\n", 200},
		{"http://10.0.0.2/env", "ip=10.0.0.2/24\ngw=10.0.0.1\nip6=fd00::2/64\n", 200},
		{"http://10.0.0.2/nothing", "not found\n", 404},
		{"http://10.0.0.2/big", "/big?n=BYTES\n", 400},
		{"http://[fd00::2]/health", "ok\n", 200},
	} {
		status, body := getPage(t, c.url)
		test.Eq(t, c.status, status, test.Sprint(c.url))
		test.StrHasPrefix(t, c.body, body)
	}
	const size = 3_000_000
	_, body := getPage(t, fmt.Sprintf("http://10.0.0.2/big?n=%d", size))
	line := body[:64]
	test.Eq(t, strings.Repeat(line, size/64), body)
}

// The driver quotes the command line of LKL guests in this way.
func TestHTTPD_AcceptsLKLCommandLine(t *testing.T) {
	if !enterOwnNetwork(t) {
		return
	}
	config := `{\"gateway\":\"10.0.0.1\",\"interfaces\":[{\"type\":\"rumpfd\",\"name\":\"tap\",\"ip\":\"10.0.0.2\",` +
		`\"masklen\":\"24\",\"mac\":\"02:00:00:00:00:09\",\"mtu\":\"1400\",\"ifgateway\":\"10.0.0.1\"}]}`
	startHTTPD(t, "__RUMP_FDINFO_NET_tap=4", "A=b", `C=d\ e`, "--config", config, "--", "port=8080")
	_, body := getPage(t, "http://10.0.0.2:8080/env")
	test.Eq(t, "A=b\nC=d e\n", body)
	out, err := exec.Command("ip", "neigh", "show", "10.0.0.2").CombinedOutput()
	must.NoError(t, err)
	test.StrContains(t, string(out), "02:00:00:00:00:09")
}

func TestHTTPD_ReportsCommandLineMistakes(t *testing.T) {
	if !enterOwnNetwork(t) {
		return
	}
	for _, c := range []struct{ args, message string }{
		{"", "httpd: no address"},
		{"ip=10.0.0.256/24", `httpd: bad ip "10.0.0.256"`},
		{"ip=10.0.0.2/33", `httpd: bad ip "33"`},
		{"ip=10.0.0.2 port=0", `httpd: bad port "0"`},
		{"ip=10.0.0.2 mac=2", `httpd: bad mac "2"`},
		{`--config {`, "httpd: --config: not JSON at byte 1"},
	} {
		out, status := runGuest(t, []string{"--net:tap=tap0"}, "httpd.spt", strings.Fields(c.args)...)
		test.Eq(t, 1, status)
		test.StrContains(t, out, c.message)
	}
}

func TestHTTPD_RejectsBadRequestsAndKeepsServing(t *testing.T) {
	if !enterOwnNetwork(t) {
		return
	}
	startHTTPD(t, "ip=10.0.0.2/24")
	const host = "Host: x\r\n"
	for _, c := range []struct{ name, request, status string }{
		{"garbage", "\x16\x03\x01\x02\n\n", "400"},
		{"endless line", "GET /" + strings.Repeat("a", 100_000), "431"},
		{"endless field", "GET / HTTP/1.1\r\nA: " + strings.Repeat("a", 100_000), "431"},
		{"body too large", "POST / HTTP/1.1\r\n" + host + "Content-Length: 99999999\r\n\r\nabc", "413"},
		{"chunks", "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "501"},
		{"version", "GET / HTTP/3.0\r\n\r\n", "505"},
		{"expects 100", "PUT / HTTP/1.1\r\n" + host + "Content-Length: 3\r\nExpect: 100-continue\r\n\r\n", "405"},
	} {
		answer := exchange(t, c.request)
		test.StrHasPrefix(t, "HTTP/1.1 "+c.status, answer, test.Sprint(c.name))
		test.StrContains(t, answer, "Connection: close")
	}
	status, _ := getPage(t, "http://"+httpdAddress+"/health")
	test.Eq(t, 200, status)
}

func TestHTTPD_AnswersPipelinedRequests(t *testing.T) {
	if !enterOwnNetwork(t) {
		return
	}
	startHTTPD(t, "ip=10.0.0.2/24")
	const count = 3000
	post := "POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n12345"
	last := "GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
	answer := exchange(t, strings.Repeat("HEAD /health HTTP/1.1\r\nHost: x\r\n\r\n"+post, count)+last)
	test.Eq(t, count+1, strings.Count(answer, "HTTP/1.1 200 OK\r\n"))
	test.Eq(t, count, strings.Count(answer, "HTTP/1.1 405 "))
	test.StrHasSuffix(t, "\r\n\r\nok\n", answer)
}

// A client may close its side of the connection after its last request.
func TestHTTPD_AnswersHalfClosedConnection(t *testing.T) {
	if !enterOwnNetwork(t) {
		return
	}
	startHTTPD(t, "ip=10.0.0.2/24")
	c := dial(t)
	_, err := io.WriteString(c, "GET /big?n=1000000 HTTP/1.1\r\nHost: x\r\n\r\n")
	must.NoError(t, err)
	must.NoError(t, c.CloseWrite())
	answer, err := io.ReadAll(c)
	must.NoError(t, err)
	test.Greater(t, 1_000_000, len(answer))
}

func TestHTTPD_SurvivesStalledAndAbortedClients(t *testing.T) {
	if !enterOwnNetwork(t) {
		return
	}
	startHTTPD(t, "ip=10.0.0.2/24", "log=0")
	// Clients that send half a request, and clients that read no answer.
	for range 60 {
		stalled, unread := dial(t), dial(t)
		must.NoError(t, unread.SetReadBuffer(4096))
		_, err := io.WriteString(stalled, "GET / HTT")
		must.NoError(t, err)
		_, err = io.WriteString(unread, "GET /big?n=99999999 HTTP/1.1\r\nHost: x\r\n\r\n")
		must.NoError(t, err)
	}
	// Clients that close during the answer, by FIN or by RST.
	for i := range 1000 {
		c := dial(t)
		_, err := io.WriteString(c, "GET /big?n=99999999 HTTP/1.1\r\nHost: x\r\n\r\n")
		must.NoError(t, err)
		must.NoError(t, c.SetLinger(i%2-1))
		must.NoError(t, c.Close())
	}
	_, body := getPage(t, "http://"+httpdAddress+"/big?n=1000000")
	test.Eq(t, 1_000_000, len(body))
}

// The guest's pools have a fixed size, so each request must free what it used.
func TestHTTPD_FreesPoolsAfterEachRequest(t *testing.T) {
	if !enterOwnNetwork(t) {
		return
	}
	startHTTPD(t, "ip=10.0.0.2/24", "log=0")
	const clients, each = 50, 400
	var all sync.WaitGroup
	errs := make(chan error, clients)
	for n := range clients {
		all.Go(func() {
			client := http.Client{
				Timeout:   testenv.Patience,
				Transport: &http.Transport{DisableKeepAlives: n%2 == 0},
			}
			defer client.CloseIdleConnections()
			for range each {
				resp, err := client.Get("http://" + httpdAddress + "/big?n=5000")
				if err != nil {
					errs <- err
					return
				}
				if n, err := io.Copy(io.Discard, resp.Body); n != 5000 {
					errs <- fmt.Errorf("%d bytes: %w", n, err)
				}
				_ = resp.Body.Close()
			}
		})
	}
	all.Wait()
	close(errs)
	for err := range errs {
		t.Error(err)
	}
}

// SPDX-License-Identifier: MPL-2.0

package apps

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/shoenig/test/must"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// haproxyConfig balances over two servers. A check may take 2 s (inter), because the machine
// may be busy. The directives for other processes are in
// Debian's configuration.
const haproxyConfig = `global
	log stdout format raw local0
	stats socket ipv4@:9999 level admin
	chroot /var/lib/haproxy
	user haproxy
	group haproxy
	daemon
defaults
	mode http
	log global
	timeout connect 5s
	timeout client 60s
	timeout server 60s
	errorfile 503 /etc/haproxy/errors/503.http
frontend web
	bind :80
	bind :443 ssl crt /etc/haproxy/site.pem alpn h2,http/1.1
	http-request return status 200 content-type text/plain string "name" if { path_reg ^/name/[a-z]+$ }
	http-request use-service prometheus-exporter if { path /metrics }
	default_backend servers
backend servers
	balance roundrobin
	server one 10.0.0.1:8001 check inter 2s fastinter 200ms downinter 200ms
	server two 10.0.0.1:8002 check inter 2s fastinter 200ms downinter 200ms
`

// startHAProxy starts HAProxy with the options that its image has.
func startHAProxy(t *testing.T, c certificate, memory int) *guest {
	t.Helper()
	root := buildRoot(t, "lkl-haproxy", map[string]string{
		"etc/haproxy/haproxy.cfg": haproxyConfig,
		"etc/haproxy/site.pem":    string(c.chain) + string(c.key),
	})
	return machine{"lkl-haproxy.spt", root, "443", memory}.start(t, "-db", "-f", "/etc/haproxy/haproxy.cfg")
}

// askHAProxy sends a command to the runtime API, and returns the answer.
func askHAProxy(t *testing.T, command string) string {
	t.Helper()
	c, err := net.Dial("tcp", "10.0.0.2:9999")
	must.NoError(t, err)
	defer c.Close()
	must.NoError(t, c.SetDeadline(time.Now().Add(testenv.Patience)))
	_, err = io.WriteString(c, command+"\n")
	must.NoError(t, err)
	answer, err := io.ReadAll(c)
	must.NoError(t, err)
	return strings.TrimSpace(string(answer))
}

// haproxyInfo returns a number of the runtime API's show info.
func haproxyInfo(t *testing.T, name string) int {
	t.Helper()
	for line := range strings.Lines(askHAProxy(t, "show info")) {
		if value, ok := strings.CutPrefix(line, name+": "); ok {
			n, err := strconv.Atoi(strings.TrimSpace(value))
			must.NoError(t, err)
			return n
		}
	}
	t.Fatalf("show info has no %s", name)
	return 0
}

// awaitAnswers waits until the answers of eight requests are from these servers, and all
// of them.
func awaitAnswers(t *testing.T, client *http.Client, servers ...string) {
	t.Helper()
	must.Wait(t, testenv.Eventually(func() error {
		seen := map[string]bool{}
		for range 8 {
			seen[get(t, client, "https://10.0.0.2/").body] = true
		}
		for _, server := range servers {
			if !seen[server] {
				return fmt.Errorf("answers of %v", seen)
			}
		}
		if len(seen) != len(servers) {
			return fmt.Errorf("answers of %v, not only of %v", seen, servers)
		}
		return nil
	}))
}

// HAProxy ends TLS, and uses only the servers that answer.
func TestHAProxy_BalancesRequests(t *testing.T) {
	if !enterOwnNetwork(t, "lkl-haproxy.spt", testLimit) {
		return
	}
	serveUpgrades(t, "10.0.0.1:8001", "one")
	first, second := newCertificate(t, "first"), newCertificate(t, "second")
	_ = startHAProxy(t, first, 64)
	awaitAnswers(t, tlsClient(pool(first), false), "one")
	serveUpgrades(t, "10.0.0.1:8002", "two")
	awaitAnswers(t, tlsClient(pool(first), false), "one", "two")
	client := tlsClient(pool(first), true)
	name := get(t, client, "https://10.0.0.2/name/somebody")
	must.Eq(t, "name", name.body)
	must.Eq(t, "HTTP/2.0", name.protocol)
	must.StrContains(t, get(t, client, "https://10.0.0.2/metrics").body, "haproxy_process_nbthread 1\n")

	// The runtime API changes servers and certificates without a restart.
	serveUpgrades(t, "10.0.0.1:8003", "three")
	must.Eq(t, "New server registered.", askHAProxy(t, "add server servers/three 10.0.0.1:8003"))
	_ = askHAProxy(t, "set server servers/three state ready")
	_ = askHAProxy(t, "set server servers/one state maint")
	awaitAnswers(t, tlsClient(pool(first), false), "two", "three")
	site := "/etc/haproxy/site.pem"
	must.StrContains(t, askHAProxy(t, "set ssl cert "+site+" <<\n"+string(second.chain)+string(second.key)), "Transaction created")
	must.StrContains(t, askHAProxy(t, "commit ssl cert "+site), "Success!")
	awaitAnswers(t, tlsClient(pool(second), false), "two", "three")
}

// Without a limit in its configuration, HAProxy would accept as many connections as it can
// open files, and the guest would run out of memory.
func TestHAProxy_LimitsConnectionsByMemory(t *testing.T) {
	if !enterOwnNetwork(t, "lkl-haproxy.spt", testLimit) {
		return
	}
	c := newCertificate(t, "site")
	_ = startHAProxy(t, c, 32)
	limit := haproxyInfo(t, "Maxconn")
	must.Between(t, 100, limit, 150)
	var open []net.Conn
	var clients sync.WaitGroup
	for range 200 { // more than it accepts, fewer than it queues
		conn, err := net.Dial("tcp", "10.0.0.2:443")
		must.NoError(t, err)
		open = append(open, conn)
		clients.Go(func() {
			client := tls.Client(conn, &tls.Config{RootCAs: pool(c), ServerName: "10.0.0.2", MinVersion: tls.VersionTLS12})
			_, _ = io.WriteString(client, "GET /name/somebody HTTP/1.1\r\n") // an incomplete request; fails when conn is closed
		})
	}
	must.Wait(t, testenv.EventuallyTrue(func() bool { return haproxyInfo(t, "CurrSslConns") == limit }))
	for _, conn := range open {
		must.NoError(t, conn.Close())
	}
	clients.Wait()
	must.Eq(t, "name", get(t, tlsClient(pool(c), false), "https://10.0.0.2/name/somebody").body)
}

// serveSlowly answers a request when release is closed. It closes requested at the first one.
func serveSlowly(t *testing.T, address string, requested, release chan struct{}) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	must.NoError(t, err)
	server := &http.Server{ReadHeaderTimeout: testenv.Patience, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(requested)
		<-release
		fmt.Fprint(w, "slow")
	})}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
}

// awaitRefusal waits until the guest refuses connections to a port.
func awaitRefusal(t *testing.T, port string) {
	t.Helper()
	must.Wait(t, testenv.Eventually(func() error {
		c, err := net.DialTimeout("tcp", "10.0.0.2:"+port, testenv.Patience)
		if err == nil {
			_ = c.Close()
			return errors.New("the guest still accepts connections")
		}
		if !errors.Is(err, unix.ECONNREFUSED) {
			return err
		}
		return nil
	}))
}

// SIGUSR1, the stop signal of the image, ends HAProxy after the last answer.
func TestHAProxy_AnswersBeforeItStops(t *testing.T) {
	if !enterOwnNetwork(t, "lkl-haproxy.spt", testLimit) {
		return
	}
	requested, release := make(chan struct{}), make(chan struct{})
	serveSlowly(t, "10.0.0.1:8001", requested, release)
	c := newCertificate(t, "site")
	g := startHAProxy(t, c, 64)
	answers := make(chan error, 1)
	go func() {
		answer, err := tlsClient(pool(c), false).Get("https://10.0.0.2/")
		if err == nil {
			defer answer.Body.Close()
			var body []byte
			if body, err = io.ReadAll(answer.Body); err == nil && string(body) != "slow" {
				err = fmt.Errorf("%s: %s", answer.Status, body)
			}
		}
		answers <- err
	}()
	select {
	case <-requested:
	case err := <-answers:
		t.Fatal("answered before the server was asked: ", err)
	}
	_, err := fmt.Fprintf(g.control, "stop %d", syscall.SIGUSR1)
	must.NoError(t, err)
	awaitRefusal(t, "80")
	close(release)
	must.NoError(t, testenv.Receive(t, answers))
	status, out := g.output()
	must.Eq(t, 0, status, must.Sprint(out))
}

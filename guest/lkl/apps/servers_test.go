// SPDX-License-Identifier: MPL-2.0

package apps

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// dialLines connects to a server with a protocol of lines.
func dialLines(t *testing.T, address string) *bufio.ReadWriter {
	t.Helper()
	c, err := net.Dial("tcp", address)
	must.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	must.NoError(t, c.SetDeadline(time.Now().Add(testenv.Patience)))
	return bufio.NewReadWriter(bufio.NewReader(c), bufio.NewWriter(c))
}

// ask sends a request and returns the first line of the answer.
func ask(t *testing.T, c *bufio.ReadWriter, request string) string {
	t.Helper()
	_, err := c.WriteString(request)
	must.NoError(t, err)
	must.NoError(t, c.Flush())
	line, err := c.ReadString('\n')
	must.NoError(t, err)
	return strings.TrimRight(line, "\r\n")
}

// The values take three times the size of the cache, so memcached has to evict some.
func TestMemcached_EvictsOldValues(t *testing.T) {
	if !enterOwnNetwork(t, "lkl-memcached.spt", testLimit) {
		return
	}
	_ = machine{"lkl-memcached.spt", buildRoot(t, "lkl-memcached", nil), "11211", 96}.start(t, "-u", "root", "-m", "64")
	c := dialLines(t, "10.0.0.2:11211")
	value := strings.Repeat("v", 10_000)
	const count = 3 * (64 << 20) / 10_000
	for i := range count {
		must.Eq(t, "STORED", ask(t, c, fmt.Sprintf("set key%d 0 0 %d\r\n%s\r\n", i, len(value), value)))
	}
	must.Eq(t, "END", ask(t, c, "get key0\r\n"))
	must.Eq(t, fmt.Sprintf("VALUE key%d 0 %d", count-1, len(value)), ask(t, c, fmt.Sprintf("get key%d\r\n", count-1)))
}

const lighttpdConfig = `server.document-root = "/www"
server.port = 80
server.modules = ("mod_accesslog", "mod_deflate", "mod_rewrite", "mod_staticfile")
accesslog.filename = "/dev/stdout"
deflate.mimetypes = ("text/plain")
deflate.allowed-encodings = ("gzip")
url.rewrite-once = ("^/old/([a-z]+)$" => "/$1.txt")
mimetype.assign = (".txt" => "text/plain")
`

func TestLighttpd_ServesCompressedFiles(t *testing.T) {
	if !enterOwnNetwork(t, "lkl-lighttpd.spt", testLimit) {
		return
	}
	page := strings.Repeat("compressible ", 1000)
	files := map[string]string{"etc/lighttpd.conf": lighttpdConfig, "www/page.txt": page}
	_ = machine{"lkl-lighttpd.spt", buildRoot(t, "lkl-lighttpd", files), "80", 64}.start(t, "-D", "-f", "/etc/lighttpd.conf")
	client := &http.Client{Timeout: testenv.Patience}
	got := get(t, client, "http://10.0.0.2/old/page")
	must.Eq(t, page, got.body)
	must.True(t, got.compressed)
	must.Eq(t, "404 Not Found", get(t, client, "http://10.0.0.2/missing").status)
}

const haproxyConfig = `global
	log stdout format raw local0
defaults
	mode http
	log global
	timeout connect 5s
	timeout client 30s
	timeout server 30s
frontend web
	bind :443 ssl crt /etc/haproxy/site.pem
	default_backend servers
backend servers
	balance roundrobin
	server one 10.0.0.1:8001 check inter 200ms
	server two 10.0.0.1:8002 check inter 200ms
`

// HAProxy ends TLS, and uses only the servers that answer.
func TestHAProxy_BalancesRequests(t *testing.T) {
	if !enterOwnNetwork(t, "lkl-haproxy.spt", testLimit) {
		return
	}
	serveUpgrades(t, "10.0.0.1:8001", "one")
	c := newCertificate(t, "site")
	files := map[string]string{
		"etc/haproxy/haproxy.cfg": haproxyConfig,
		"etc/haproxy/site.pem":    string(c.chain) + string(c.key),
	}
	_ = machine{"lkl-haproxy.spt", buildRoot(t, "lkl-haproxy", files), "443", 64}.start(t, "-f", "/etc/haproxy/haproxy.cfg")
	client := tlsClient(pool(c), false)
	must.Wait(t, testenv.Eventually(func() error {
		for range 4 {
			if body := get(t, client, "https://10.0.0.2/").body; body != "one" {
				return fmt.Errorf("the server that is down is still used: %s", body)
			}
		}
		return nil
	}))
	serveUpgrades(t, "10.0.0.1:8002", "two")
	must.Wait(t, testenv.Eventually(func() error {
		seen := map[string]bool{}
		for range 4 {
			seen[get(t, client, "https://10.0.0.2/").body] = true
		}
		if !seen["one"] || !seen["two"] {
			return fmt.Errorf("answers of %v", seen)
		}
		return nil
	}))
}

func TestMosquitto_DeliversMessages(t *testing.T) {
	testenv.Need(t, testenv.Tool("mosquitto_pub"), testenv.Tool("mosquitto_sub"))
	if !enterOwnNetwork(t, "lkl-mosquitto.spt", testLimit) {
		return
	}
	_ = machine{"lkl-mosquitto.spt", buildRoot(t, "lkl-mosquitto", nil), "1883", 64}.start(t, "-c", "/etc/mosquitto/mosquitto.conf")
	client := func(program string, args ...string) string {
		out, err := exec.Command(program, append([]string{"-h", "10.0.0.2", "-t", "topic", "-q", "2"}, args...)...).CombinedOutput()
		must.NoError(t, err, must.Sprintf("%s", out))
		return string(out)
	}
	large := strings.Repeat("message ", 100_000)
	for _, message := range []string{"short", large} {
		_ = client("mosquitto_pub", "-r", "-m", "replaced")
		publish := exec.Command("mosquitto_pub", "-h", "10.0.0.2", "-t", "topic", "-q", "2", "-r", "-s")
		publish.Stdin = strings.NewReader(message)
		must.NoError(t, publish.Run())
		must.Eq(t, message+"\n", client("mosquitto_sub", "-C", "1"))
	}
}

// A query that fails changes the exit status, as natively.
func TestSQLite_RunsQueries(t *testing.T) {
	if !enterOwnNetwork(t, "lkl-sqlite3.spt", testLimit) {
		return
	}
	root := buildRoot(t, "lkl-sqlite3", map[string]string{"queries": "PRAGMA journal_mode = WAL;\n" +
		"CREATE TABLE t (n INTEGER);\nINSERT INTO t SELECT value FROM generate_series(1, 1000);\nSELECT sum(n) FROM t;\n"})
	run := func(args ...string) (int, string) {
		return machine{"lkl-sqlite3.spt", root, "", 64}.start(t, args...).output()
	}
	status, out := run("/db", "'.read /queries'")
	must.Eq(t, 0, status, must.Sprint(out))
	must.Eq(t, "wal\n500500\n", out)
	status, out = run("/db", "'SELECT count(*) FROM t; PRAGMA integrity_check'")
	must.Eq(t, 0, status)
	must.Eq(t, "1000\nok\n", out)
	status, out = run("/db", "'SELECT * FROM missing'")
	must.Eq(t, 1, status)
	must.StrContains(t, out, "no such table: missing")
}

func TestBusyBox_RunsApplets(t *testing.T) {
	if !enterOwnNetwork(t, "lkl-busybox.spt", testLimit) {
		return
	}
	root := buildRoot(t, "lkl-busybox", map[string]string{"words": "b 2\na 1\n"})
	for _, tc := range []struct {
		args   []string
		status int
		output string
	}{
		{[]string{"sort", "/words"}, 0, "a 1\nb 2\n"},
		{[]string{"awk", "'{ sum += $2 } END { print sum }'", "/words"}, 0, "3\n"},
		{[]string{"sha256sum", "/words"}, 0, "f7a4bff8f799b965e0e664d98dea436d1ab938b41360de8983069816c851fb1b  /words\n"},
		{[]string{"grep", "-c", "missing", "/words"}, 1, "0\n"},
		{[]string{"false"}, 1, ""},
	} {
		status, out := machine{"lkl-busybox.spt", root, "", 32}.start(t, tc.args...).output()
		must.Eq(t, tc.status, status, must.Sprint(tc.args))
		must.Eq(t, tc.output, out)
	}
}

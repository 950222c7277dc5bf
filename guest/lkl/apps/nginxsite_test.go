// SPDX-License-Identifier: MPL-2.0

package apps

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/shoenig/test/must"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// startNginx starts nginx with further files in its root, in 64 MiB.
func startNginx(t *testing.T, port string, files map[string]string, args ...string) *guest {
	t.Helper()
	return machine{"lkl-nginx.spt", buildRoot(t, "lkl-nginx", files), port, 64}.start(t, args...)
}

// An answer is the answer to a request.
type answer struct {
	status, protocol, contentType, body string

	compressed bool
	tls        *tls.ConnectionState
}

// get requests a URL.
func get(t *testing.T, client *http.Client, url string) answer {
	t.Helper()
	a, err := client.Get(url)
	must.NoError(t, err)
	defer a.Body.Close()
	body, err := io.ReadAll(a.Body)
	must.NoError(t, err)
	return answer{a.Status, a.Proto, a.Header.Get("Content-Type"), string(body), a.Uncompressed, a.TLS}
}

// debianConfig is Debian's nginx.conf without its comments.
const debianConfig = `user www-data;
worker_processes auto;
pid /run/nginx.pid;
error_log /var/log/nginx/error.log;
include /etc/nginx/modules-enabled/*.conf;

events {
	worker_connections 768;
}

http {
	sendfile on;
	tcp_nopush on;
	types_hash_max_size 2048;
	include /etc/nginx/mime.types;
	default_type application/octet-stream;
	ssl_protocols TLSv1 TLSv1.1 TLSv1.2 TLSv1.3;
	ssl_prefer_server_ciphers on;
	access_log /var/log/nginx/access.log;
	gzip on;
	include /etc/nginx/conf.d/*.conf;
	include /etc/nginx/sites-enabled/*;
}
`

// debianSite is a site as in Debian's sites-available, with directives of several modules.
const debianSite = `server {
	listen 80 default_server reuseport;
	listen [::]:80 default_server;
	root /var/www/html;
	index index.html;
	gzip_min_length 0;
	location / { try_files $uri $uri/ =404; }
	location ~ ^/user/(?<name>[a-z]+)$ { return 200 "name $name"; }
	location /old { rewrite ^/old/(.*)$ /user/$1 permanent; }
	location /private { auth_request /allow; }
	location = /allow { return 403; }
	location /status { stub_status; }
	location /nothing { if ($arg_a = 1) { return 204; } }
}
`

// Debian's nginx.conf is for a master with workers that run as www-data.
func TestNginx_RunsDebiansConfiguration(t *testing.T) {
	if !enterOwnNetwork(t, "lkl-nginx.spt", testLimit) {
		return
	}
	page := strings.Repeat("compressible ", 1000)
	_ = startNginx(t, "80", map[string]string{
		"etc/nginx/nginx.conf":            debianConfig,
		"etc/nginx/sites-enabled/default": debianSite,
		"var/www/html/index.html":         page,
	})
	client := &http.Client{
		Timeout:       testenv.Patience,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	index := get(t, client, "http://10.0.0.2/")
	must.Eq(t, page, index.body)
	must.True(t, index.compressed)
	must.Eq(t, "text/html", index.contentType)
	for path, want := range map[string]string{
		"/missing":     "404 Not Found",
		"/old/name":    "301 Moved Permanently",
		"/private":     "403 Forbidden",
		"/nothing?a=1": "204 No Content",
		"/status":      "200 OK",
	} {
		must.Eq(t, want, get(t, client, "http://10.0.0.2"+path).status, must.Sprint(path))
	}
	must.Eq(t, "name somebody", get(t, client, "http://10.0.0.2/user/somebody").body)
}

// uiConfig is a reverse proxy for Nomad's web interface, as in Nomad's documentation.
const uiConfig = `events {}
http {
	server {
		listen 80;
		location / {
			proxy_pass http://nomad;
			proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
			proxy_read_timeout 319s;
			proxy_buffering off;
			proxy_http_version 1.1;
			proxy_set_header Upgrade $http_upgrade;
			proxy_set_header Connection "upgrade";
			proxy_set_header Origin "${scheme}://${proxy_host}";
		}
	}
	upstream nomad {
		ip_hash;
		server 10.0.0.1:4646;
		server 10.0.0.1:4647;
	}
}
`

// serveUpgrades answers each request with the server's name. A request for an upgrade
// gets its own bytes back, if its Origin is the server's address.
func serveUpgrades(t *testing.T, address, name string) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	must.NoError(t, err)
	server := &http.Server{ReadHeaderTimeout: testenv.Patience, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			fmt.Fprint(w, name)
			return
		}
		if r.Header.Get("Origin") != "http://nomad" {
			http.Error(w, "wrong origin", http.StatusForbidden)
			return
		}
		c, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		_, _ = io.Copy(c, buffered)
	})}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
}

func TestNginx_ProxiesUpgradedConnections(t *testing.T) {
	if !enterOwnNetwork(t, "lkl-nginx.spt", testLimit) {
		return
	}
	_ = startNginx(t, "80", map[string]string{"etc/nginx/nginx.conf": uiConfig})
	serveUpgrades(t, "10.0.0.1:4646", "one")
	serveUpgrades(t, "10.0.0.1:4647", "two")

	client := &http.Client{Timeout: testenv.Patience}
	server := get(t, client, "http://10.0.0.2/ui/").body
	must.SliceContains(t, []string{"one", "two"}, server)
	for range 10 {
		must.Eq(t, server, get(t, client, "http://10.0.0.2/ui/").body, must.Sprint("ip_hash chooses one server for a client"))
	}

	c, err := net.Dial("tcp", "10.0.0.2:80")
	must.NoError(t, err)
	defer c.Close()
	must.NoError(t, c.SetDeadline(time.Now().Add(testenv.Patience)))
	_, err = io.WriteString(c, "GET /v1/exec HTTP/1.1\r\nHost: ui\r\nOrigin: http://elsewhere\r\n"+
		"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	must.NoError(t, err)
	in := bufio.NewReader(c)
	answer, err := http.ReadResponse(in, nil)
	must.NoError(t, err)
	defer answer.Body.Close()
	must.Eq(t, http.StatusSwitchingProtocols, answer.StatusCode)
	for _, line := range []string{"first\n", "second\n"} {
		_, err = io.WriteString(c, line)
		must.NoError(t, err)
		echo, err := in.ReadString('\n')
		must.NoError(t, err)
		must.Eq(t, line, echo)
	}
}

// SIGQUIT ends nginx after the answer in progress.
func TestNginx_AnswersBeforeQuit(t *testing.T) {
	if !enterOwnNetwork(t, "lkl-nginx.spt", testLimit) {
		return
	}
	g := startReloadingNginx(t)
	g.reload(t) // an old configuration must not delay the end
	answer, err := http.Get("http://10.0.0.2/large")
	must.NoError(t, err)
	defer answer.Body.Close()
	_, err = g.control.WriteString("stop 3")
	must.NoError(t, err)
	must.Wait(t, testenv.Eventually(func() error {
		c, err := net.Dial("tcp", "10.0.0.2:80")
		if err == nil {
			_ = c.Close()
			return errors.New("nginx still listens")
		}
		if !errors.Is(err, unix.ECONNREFUSED) {
			return err
		}
		return nil
	}))
	content, err := io.ReadAll(answer.Body)
	must.NoError(t, err)
	must.Eq(t, 10<<20, len(content))
	must.NoError(t, g.cmd.Wait(), must.Sprint(&g.console))
}

// A connection without a request delays the end, but not beyond Nomad's kill timeout with the
// shipped configuration.
func TestNginx_QuitsDespiteASilentConnection(t *testing.T) {
	if !enterOwnNetwork(t, "lkl-nginx.spt", testLimit) {
		return
	}
	g := startNginx(t, "80", map[string]string{"etc/nginx/conf.d/wait.conf": "client_header_timeout 1h;\n"})
	c, err := net.Dial("tcp", "10.0.0.2:80")
	must.NoError(t, err)
	defer c.Close()
	_ = get(t, &http.Client{Timeout: testenv.Patience}, "http://10.0.0.2/") // nginx has accepted c
	_, err = g.control.WriteString("stop 3")
	must.NoError(t, err)
	must.NoError(t, g.cmd.Wait(), must.Sprint(&g.console))
}

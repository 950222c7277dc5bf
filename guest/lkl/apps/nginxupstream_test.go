// SPDX-License-Identifier: MPL-2.0

package apps

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/fcgi"
	"strings"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// upstreamConfig forwards port 80 to a FastCGI server, and port 81 byte by byte to the
// web server of the same configuration.
const upstreamConfig = `events {}
http {
	server {
		listen 80;
		location / {
			include fastcgi_params;
			fastcgi_pass 10.0.0.1:9000;
		}
	}
}
stream {
	upstream web {
		server 10.0.0.1:9; # refuses connections
		server 127.0.0.1:80;
	}
	server {
		listen 81;
		proxy_pass web;
	}
}
`

// serveFastCGI answers requests with their method, path, query and body.
func serveFastCGI(t *testing.T, address string) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	must.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %d %v", r.Method, r.URL.RequestURI(), len(body), err)
	})
	go func() { _ = fcgi.Serve(l, handler) }() // until l is closed
}

func TestNginx_ForwardsFastCGIAndStreams(t *testing.T) {
	if !enterOwnNetwork(t, "lkl-nginx.spt", testLimit) {
		return
	}
	_ = startNginx(t, "80", map[string]string{"etc/nginx/nginx.conf": upstreamConfig})
	client := &http.Client{Timeout: testenv.Patience}
	must.Eq(t, "502 Bad Gateway", get(t, client, "http://10.0.0.2/").status)
	serveFastCGI(t, "10.0.0.1:9000")

	const size = 500_000 // more than nginx keeps in memory
	for _, server := range []string{"10.0.0.2:80", "10.0.0.2:81"} {
		must.Eq(t, "GET /path?a=b 0 <nil>", get(t, client, "http://"+server+"/path?a=b").body)
		answer, err := client.Post("http://"+server+"/upload", "text/plain", strings.NewReader(strings.Repeat("x", size)))
		must.NoError(t, err)
		body, err := io.ReadAll(answer.Body)
		must.NoError(t, err)
		must.NoError(t, answer.Body.Close())
		must.Eq(t, fmt.Sprintf("POST /upload %d <nil>", size), string(body))
	}
}

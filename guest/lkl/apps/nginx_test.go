// SPDX-License-Identifier: MPL-2.0

package apps

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// reloadConfig includes a file to which a client appends lines: port 81 logs the header
// Line there.
const reloadConfig = `daemon off;
master_process off;
error_log stderr notice;
events { worker_connections 1024; }
http {
	log_format line escape=none '$http_line';
	access_log off;
	keepalive_timeout 1h; # only a reload closes idle connections
	server {
		listen 80;
		root /www;
		include /etc/nginx/lines.conf;
	}
	server {
		listen 81;
		root /www;
		access_log /etc/nginx/lines.conf line;
	}
}
`

// startReloadingNginx starts nginx with reloadConfig in 64 MiB.
func startReloadingNginx(t *testing.T) *guest {
	t.Helper()
	return startNginx(t, "80", map[string]string{
		"etc/nginx/nginx.conf": reloadConfig,
		"etc/nginx/lines.conf": "add_header Version first;\n",
		"www/large":            strings.Repeat("large", 2<<20),
	})
}

// getHeader requests path, reads the answer, and returns its header.
func getHeader(ctx context.Context, client *http.Client, address, path, line string) (http.Header, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+path, http.NoBody)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Line", line)
	answer, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", path, answer.Status)
	}
	_, err = io.Copy(io.Discard, answer.Body)
	return answer.Header, err
}

// addLine adds a line to the server's configuration, which takes effect at a reload.
func addLine(t *testing.T, line string) {
	t.Helper()
	client := &http.Client{Timeout: testenv.Patience, Transport: &http.Transport{DisableKeepAlives: true}}
	_, err := getHeader(t.Context(), client, "10.0.0.2:81", "/", line)
	must.NoError(t, err)
}

// reload sends SIGHUP, and waits until nginx has closed an idle connection to port 80.
func (g *guest) reload(t *testing.T) {
	t.Helper()
	g.reloadAt(t, func() (net.Conn, error) { return net.Dial("tcp", "10.0.0.2:80") })
}

// reloadAt does the same with a connection that dial returns.
func (g *guest) reloadAt(t *testing.T, dial func() (net.Conn, error)) {
	t.Helper()
	idle, err := dial()
	must.NoError(t, err)
	defer idle.Close()
	must.NoError(t, idle.SetDeadline(time.Now().Add(testenv.Patience)))
	_, err = io.WriteString(idle, "GET / HTTP/1.1\r\nHost: guest\r\n\r\n")
	must.NoError(t, err)
	in := bufio.NewReader(idle)
	answer, err := http.ReadResponse(in, nil)
	must.NoError(t, err)
	_, err = io.Copy(io.Discard, answer.Body)
	must.NoError(t, err)
	_ = answer.Body.Close()
	_, err = g.control.WriteString("signal 1")
	must.NoError(t, err)
	_, err = in.ReadByte()
	must.ErrorIs(t, err, io.EOF)
}

// requestUntil makes requests until the context ends, and returns their number.
func requestUntil(ctx context.Context, keepalive bool) (count int, err error) {
	client := &http.Client{Timeout: testenv.Patience, Transport: &http.Transport{DisableKeepAlives: !keepalive}}
	for ; ctx.Err() == nil; count++ {
		if _, err := getHeader(context.WithoutCancel(ctx), client, "10.0.0.2:80", "/", ""); err != nil {
			return count, err
		}
	}
	return count, nil
}

// A configuration with 1,024 connections takes 430 KB, so 1,000 reloads exhaust the
// memory unless old configurations are freed.
func TestNginx_ServesDuringReloads(t *testing.T) {
	if !enterOwnNetwork(t, "lkl-nginx.spt", testLimit) {
		return
	}
	g := startReloadingNginx(t)
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	var counts [2]int
	var errs [2]error
	for i := range counts {
		group.Go(func() { counts[i], errs[i] = requestUntil(ctx, i == 0) })
	}
	for range 1000 {
		g.reload(t)
	}
	cancel()
	group.Wait()
	for i := range counts {
		must.NoError(t, errs[i])
		must.Positive(t, counts[i])
	}
	t.Logf("requests with and without keepalive: %d", counts)
}

func TestNginx_ReloadsItsConfiguration(t *testing.T) {
	if !enterOwnNetwork(t, "lkl-nginx.spt", testLimit) {
		return
	}
	g := startReloadingNginx(t)
	client := &http.Client{Timeout: testenv.Patience, Transport: &http.Transport{}}
	requireVersions := func(address string, want ...string) {
		t.Helper()
		header, err := getHeader(t.Context(), client, address, "/", "")
		must.NoError(t, err)
		must.Eq(t, want, header.Values("Version"))
	}
	requireVersions("10.0.0.2:80", "first")

	// An answer that nginx sends during the reload is complete.
	answer, err := client.Get("http://10.0.0.2/large")
	must.NoError(t, err)
	defer answer.Body.Close()
	addLine(t, "listen 82; add_header Version second;")
	g.reload(t)
	requireVersions("10.0.0.2:80", "first", "second")
	requireVersions("10.0.0.2:82", "first", "second")
	content, err := io.ReadAll(answer.Body)
	must.NoError(t, err)
	must.Eq(t, 10<<20, len(content))

	addLine(t, "unknown_directive on;")
	_, err = g.control.WriteString("signal 1")
	must.NoError(t, err)
	for range 100 {
		requireVersions("10.0.0.2:80", "first", "second")
	}
}

// SPDX-License-Identifier: MPL-2.0

package apps

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// lighttpdConfig has a directory /etc/lighttpd/conf that clients can write to, and uses the
// header in it.
const lighttpdConfig = `server.document-root = "/www"
server.port = 80
server.modules = ("mod_access", "mod_alias", "mod_redirect", "mod_rewrite", "mod_setenv", "mod_accesslog",
	"mod_openssl", "mod_deflate", "mod_webdav", "mod_indexfile", "mod_proxy", "mod_ssi", "mod_staticfile")
accesslog.filename = "/dev/stdout"
index-file.names = ("index.html")
mimetype.assign = (".html" => "text/html", ".txt" => "text/plain")
deflate.mimetypes = ("text/")
deflate.allowed-encodings = ("gzip")
ssi.extension = (".html")
url.rewrite-once = ("^/old/([a-z]+)$" => "/$1.txt")
alias.url = ("/conf/" => "/etc/lighttpd/conf/")
$HTTP["url"] =~ "^/conf/" { webdav.activate = "enable" }
$HTTP["url"] =~ "^/api/" { proxy.server = ("" => (("host" => "10.0.0.1", "port" => 8001))) }
$SERVER["socket"] == ":443" {
	ssl.engine = "enable"
	ssl.pemfile = "/etc/lighttpd/site.pem"
}
include "/etc/lighttpd/conf/header.conf"
`

// header returns a file for lighttpdConfig.
func header(version string) string {
	return `setenv.add-response-header = ("Version" => "` + version + `")` + "\n"
}

// startLighttpd starts lighttpd with the options that its image has.
func startLighttpd(t *testing.T, c certificate, files map[string]string) *guest {
	t.Helper()
	files["etc/lighttpd/lighttpd.conf"] = lighttpdConfig
	files["etc/lighttpd/conf/header.conf"] = header("first")
	files["etc/lighttpd/site.pem"] = string(c.chain) + string(c.key)
	root := buildRoot(t, "lkl-lighttpd", files)
	return machine{"lkl-lighttpd.spt", root, "443", 32}.start(t, "-D", "-f", "/etc/lighttpd/lighttpd.conf")
}

func TestLighttpd_ServesFilesAndProxies(t *testing.T) {
	if !enterOwnNetwork(t, "lkl-lighttpd.spt", testLimit) {
		return
	}
	c := newCertificate(t, "site")
	page := strings.Repeat("compressible ", 1000)
	_ = startLighttpd(t, c, map[string]string{
		"www/page.txt":   page,
		"www/index.html": `client <!--#echo var="REMOTE_ADDR" -->`,
	})
	serveUpgrades(t, "10.0.0.1:8001", "upstream")
	client := &http.Client{Timeout: testenv.Patience}
	got := get(t, client, "http://10.0.0.2/old/page")
	must.Eq(t, page, got.body)
	must.True(t, got.compressed)
	must.Eq(t, "text/plain", got.contentType)
	must.Eq(t, "client 10.0.0.1", get(t, client, "http://10.0.0.2/").body)
	must.Eq(t, "upstream", get(t, client, "http://10.0.0.2/api/").body)
	must.Eq(t, "404 Not Found", get(t, client, "http://10.0.0.2/missing").status)

	got = get(t, tlsClient(pool(c), true), "https://10.0.0.2/page.txt")
	must.Eq(t, page, got.body)
	must.Eq(t, "HTTP/2.0", got.protocol)
}

// writeHeader replaces the header of lighttpdConfig.
func writeHeader(t *testing.T, version string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://10.0.0.2/conf/header.conf", strings.NewReader(header(version)))
	must.NoError(t, err)
	answer, err := (&http.Client{Timeout: testenv.Patience, Transport: &http.Transport{DisableKeepAlives: true}}).Do(request)
	must.NoError(t, err)
	must.NoError(t, answer.Body.Close())
	must.Eq(t, http.StatusNoContent, answer.StatusCode)
}

// SIGUSR1 reads the configuration again, and SIGINT ends lighttpd. Both let answers in progress
// finish.
func TestLighttpd_ReloadsAndStopsSoftly(t *testing.T) {
	if !enterOwnNetwork(t, "lkl-lighttpd.spt", testLimit) {
		return
	}
	const large = 10 << 20
	g := startLighttpd(t, newCertificate(t, "site"), map[string]string{"www/large": strings.Repeat("large page", large/10)})
	client := &http.Client{Timeout: testenv.Patience, Transport: &http.Transport{DisableKeepAlives: true}}
	requireLarge := func(version string, change func()) {
		t.Helper()
		answer, err := client.Get("http://10.0.0.2/large")
		must.NoError(t, err)
		defer answer.Body.Close()
		must.Eq(t, version, answer.Header.Get("Version"))
		change()
		content, err := io.ReadAll(answer.Body)
		must.NoError(t, err)
		must.Eq(t, large, len(content))
	}
	requireLarge("first", func() {
		writeHeader(t, "second")
		g.signal(t, syscall.SIGUSR1)
	})
	must.Wait(t, testenv.Eventually(func() error {
		header, err := getHeader(t.Context(), client, "10.0.0.2:80", "/", "")
		if err == nil && header.Get("Version") != "second" {
			err = errors.New("lighttpd uses the first configuration")
		}
		return err
	}))
	requireLarge("second", func() { g.signal(t, syscall.SIGINT) })
	status, out := g.output()
	must.Eq(t, 0, status, must.Sprint(out))
}

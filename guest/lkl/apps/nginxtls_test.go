// SPDX-License-Identifier: MPL-2.0

package apps

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// A certificate is a self-signed certificate for 10.0.0.2 and its key, in PEM.
type certificate struct{ chain, key []byte }

// newCertificate makes a certificate with a name as its common name.
func newCertificate(t *testing.T, name string) certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Now().Add(-24 * time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
		IPAddresses:  []net.IP{net.IPv4(10, 0, 0, 1), net.IPv4(10, 0, 0, 2)},
		IsCA:         true,

		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must.NoError(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	must.NoError(t, err)
	return certificate{
		chain: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		key:   pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}),
	}
}

// pool returns a pool that contains the certificates.
func pool(certificates ...certificate) *x509.CertPool {
	p := x509.NewCertPool()
	for _, c := range certificates {
		p.AppendCertsFromPEM(c.chain)
	}
	return p
}

// tlsConfig serves the certificates in /etc/nginx/tls. Port 81 replaces a file of that
// directory by the body of a PUT request.
const tlsConfig = `events {}
http {
	access_log off;
	ssl_protocols TLSv1.2 TLSv1.3;
	ssl_session_cache shared:tls:1m;
	server {
		listen 443 ssl http2;
		ssl_certificate tls/chain.pem;
		ssl_certificate_key tls/key.pem;
		root /www;
	}
	server {
		listen 81;
		root /etc/nginx/tls;
		dav_methods PUT;
	}
}
`

// put replaces a file by way of the server at port 81.
func put(t *testing.T, name string, content []byte) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://10.0.0.2:81/"+name, strings.NewReader(string(content)))
	must.NoError(t, err)
	client := &http.Client{Timeout: testenv.Patience, Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Do(request)
	must.NoError(t, err)
	_ = answer.Body.Close()
	must.Eq(t, http.StatusNoContent, answer.StatusCode)
}

func startTLSNginx(t *testing.T, c certificate) *guest {
	t.Helper()
	return startNginx(t, "443", map[string]string{
		"etc/nginx/nginx.conf":    tlsConfig,
		"etc/nginx/tls/chain.pem": string(c.chain),
		"etc/nginx/tls/key.pem":   string(c.key),
		"www/index.html":          "page",
	})
}

// tlsClient returns a client that verifies certificates by the pool. It uses HTTP/2 if it keeps
// connections.
func tlsClient(roots *x509.CertPool, keepalive bool) *http.Client {
	return &http.Client{Timeout: testenv.Patience, Transport: &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2: keepalive,
		DisableKeepAlives: !keepalive,
	}}
}

func TestNginx_ServesTLSWithReloadedCertificates(t *testing.T) {
	if !enterOwnNetwork(t, "lkl-nginx.spt", testLimit) {
		return
	}
	first, second := newCertificate(t, "first"), newCertificate(t, "second")
	g := startTLSNginx(t, first)
	index := get(t, tlsClient(pool(first), true), "https://10.0.0.2/")
	must.Eq(t, "page", index.body)
	must.Eq(t, "HTTP/2.0", index.protocol)
	must.Eq(t, tls.VersionTLS13, int(index.tls.Version))
	old := &tls.Config{RootCAs: pool(first), MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS12}
	c, err := tls.Dial("tcp", "10.0.0.2:443", old)
	must.NoError(t, err)
	must.NoError(t, c.Close())

	put(t, "chain.pem", second.chain)
	put(t, "key.pem", second.key)
	_, err = g.control.WriteString("signal 1")
	must.NoError(t, err)
	must.Wait(t, testenv.Eventually(func() error {
		return checkPage(tlsClient(pool(second), false), "https://10.0.0.2/")
	}))
	must.Error(t, checkPage(tlsClient(pool(first), false), "https://10.0.0.2/"))
}

// withoutHTTP2 makes the client speak HTTP/1.1. With HTTP/2, a reload may close a connection before
// its first request, and not every client tries again.
func withoutHTTP2(client *http.Client) {
	transport := client.Transport.(*http.Transport)
	transport.ForceAttemptHTTP2 = false
	transport.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
}

// Each reload reads the certificate and makes a TLS context, which must be freed.
func TestNginx_ServesTLSDuringReloads(t *testing.T) {
	if !enterOwnNetwork(t, "lkl-nginx.spt", testLimit) {
		return
	}
	c := newCertificate(t, "name")
	g := startTLSNginx(t, c)
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	var counts [2]int
	var errs [2]error
	for i := range counts {
		group.Go(func() {
			client := tlsClient(pool(c), i == 0)
			if i == 0 {
				withoutHTTP2(client)
			}
			for ctx.Err() == nil && errs[i] == nil {
				counts[i]++
				errs[i] = checkPage(client, "https://10.0.0.2/")
			}
		})
	}
	for range 1000 {
		g.reloadAt(t, func() (net.Conn, error) {
			return tls.Dial("tcp", "10.0.0.2:443", &tls.Config{RootCAs: pool(c), MinVersion: tls.VersionTLS12})
		})
	}
	cancel()
	group.Wait()
	for i := range counts {
		must.NoError(t, errs[i])
		must.Positive(t, counts[i])
	}
	t.Logf("requests with and without keepalive: %d", counts)
}

// checkPage returns an error if the page is not served.
func checkPage(client *http.Client, url string) error {
	answer, err := client.Get(url)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err == nil && string(body) != "page" {
		err = fmt.Errorf("%s: %s %q", url, answer.Status, body)
	}
	return err
}

// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"testing"
	"time"

	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv/sandbox"
)

// tlsVariable is the Nomad variable of the example nginx-tls.
const tlsVariable = "nomad/jobs/example-nginx-tls"

// putCertificate writes a new certificate for tls.test to the variable of the example
// nginx-tls, and returns a pool that contains it.
func putCertificate(t *testing.T) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    time.Now().Add(-24 * time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
		DNSNames:     []string{"tls.test"},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must.NoError(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	must.NoError(t, err)
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	_, _, err = nomad.API.Variables().Update(&api.Variable{Path: tlsVariable, Items: api.VariableItems{
		"certificate": string(certificate),
		"key":         string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})),
	}}, nil)
	must.NoError(t, err)
	pool := x509.NewCertPool()
	must.True(t, pool.AppendCertsFromPEM(certificate))
	return pool
}

// withCertificate sets the variables of the example nginx-tls.
func withCertificate(t *testing.T) string {
	t.Helper()
	_ = putCertificate(t)
	t.Cleanup(func() {
		_, err := nomad.API.Variables().Delete(tlsVariable, nil)
		must.NoError(t, err)
	})
	return images(t)
}

// servesNewCertificates requires a page over TLS, with each certificate in turn.
func servesNewCertificates(t *testing.T, a *alloc) {
	t.Helper()
	for range 2 {
		client := http.Client{Timeout: testenv.Patience, Transport: &http.Transport{
			DisableKeepAlives: true,
			TLSClientConfig:   &tls.Config{RootCAs: putCertificate(t), ServerName: "tls.test", MinVersion: tls.VersionTLS12},
		}}
		var body []byte
		must.Wait(t, testenv.Eventually(func() error {
			answer, err := client.Get("https://" + a.address(t, "https") + "/")
			if err != nil {
				return err
			}
			defer answer.Body.Close()
			body, err = io.ReadAll(answer.Body)
			return err
		}))
		must.Eq(t, "alloc "+a.ID[:8]+" of nginx-tls\n", string(body))
	}
}

// serveAPI sets the variables of the example nomad-ui. The guests cannot reach the API,
// which listens on the loopback address, so this serves it at another one.
func serveAPI(t *testing.T) string {
	t.Helper()
	target, err := url.Parse(nomad.API.Address())
	must.NoError(t, err)
	l, err := net.Listen("tcp", net.JoinHostPort(sandbox.Address, "0"))
	must.NoError(t, err)
	server := &http.Server{Handler: httputil.NewSingleHostReverseProxy(target), ReadHeaderTimeout: testenv.Patience}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	return images(t) + fmt.Sprintf("servers = [%q]\n", l.Addr())
}

// servesTheAPI requires that the API of Nomad answers at the task's port.
func servesTheAPI(t *testing.T, a *alloc) {
	t.Helper()
	var found api.Allocation
	must.Wait(t, testenv.Eventually(func() error {
		client, err := api.NewClient(&api.Config{Address: "http://" + a.address(t, "http")})
		if err != nil {
			return err
		}
		info, _, err := client.Allocations().Info(a.ID, nil)
		if err == nil {
			found = *info
		}
		return err
	}))
	must.Eq(t, a.JobID, found.JobID)
}

// SPDX-License-Identifier: MPL-2.0

package apps

import (
	"archive/zip"
	"crypto/sha512"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/disk"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// writeWheel writes a pure Python wheel.
func writeWheel(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	must.NoError(t, err)
	defer f.Close()
	w := zip.NewWriter(f)
	for name, content := range map[string]string{
		"example_wheel/__init__.py":                 "def answer(): return 'version '\n",
		"example_wheel-1.5.dist-info/METADATA":      "Metadata-Version: 2.1\nName: example-wheel\nVersion: 1.5\n",
		"example_wheel-1.5.dist-info/WHEEL":         "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
		"example_wheel-1.5.dist-info/top_level.txt": "example_wheel\n",
	} {
		out, err := w.Create(name)
		must.NoError(t, err)
		_, err = io.WriteString(out, content)
		must.NoError(t, err)
	}
	must.NoError(t, w.Close())
}

// installWheel unpacks a wheel, as "pip install --target" does with pure Python wheels.
func installWheel(t *testing.T, wheel, target string) {
	t.Helper()
	r, err := zip.OpenReader(wheel)
	must.NoError(t, err)
	must.NoError(t, os.CopyFS(target, r))
	must.NoError(t, r.Close())
}

// startPythonModules starts testdata/modules.py in a guest whose CA certificates contain
// the trusted certificate.
func startPythonModules(t *testing.T, server, trusted certificate) *guest {
	t.Helper()
	dir := t.TempDir()
	files, root, wheel := filepath.Join(dir, "files"), filepath.Join(dir, "root.ext4"), filepath.Join(dir, "example_wheel-1.5-py3-none-any.whl")
	must.NoError(t, os.CopyFS(files, os.DirFS(strings.TrimSuffix(testenv.Guest(t, "lkl-python3.spt"), ".spt")+".root")))
	program, err := os.ReadFile("testdata/modules.py")
	must.NoError(t, err)
	bundle := "etc/ssl/certs/ca-certificates.crt"
	authorities, err := os.ReadFile(filepath.Join(files, bundle))
	must.NoError(t, err)
	for name, content := range map[string][]byte{
		"modules.py": program, "chain.pem": server.chain, "key.pem": server.key, bundle: append(authorities, trusted.chain...),
	} {
		must.NoError(t, os.WriteFile(filepath.Join(files, name), content, 0o644))
	}
	writeWheel(t, wheel)
	installWheel(t, wheel, filepath.Join(files, "usr/local/lib/python3.11/dist-packages"))
	must.NoError(t, disk.Build(t.Context(), files, root, disk.BuildOptions{Size: 64 << 20}))
	return startGuest(t, "lkl-python3.spt", root, "443", "/modules.py")
}

// serveTLS answers each request with "fetched".
func serveTLS(t *testing.T, address string, c certificate) {
	t.Helper()
	pair, err := tls.X509KeyPair(c.chain, c.key)
	must.NoError(t, err)
	l, err := net.Listen("tcp", address)
	must.NoError(t, err)
	server := &http.Server{
		ReadHeaderTimeout: testenv.Patience,
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12},
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "fetched") }),
	}
	go func() { _ = server.ServeTLS(l, "", "") }()
	t.Cleanup(func() { _ = server.Close() })
}

func TestPython_RunsModulesWithLibraries(t *testing.T) {
	if !enterOwnNetwork(t, "lkl-python3.spt", testLimit) {
		return
	}
	own, trusted, unknown := newCertificate(t, "own"), newCertificate(t, "trusted"), newCertificate(t, "unknown")
	_ = startPythonModules(t, own, trusted)
	serveTLS(t, "10.0.0.1:8443", trusted)
	serveTLS(t, "10.0.0.1:8444", unknown)
	client := tlsClient(pool(own), false)
	for path, want := range map[string]any{
		"/structure":  0x0304,
		"/function":   4321,
		"/library":    "a unikernel has no shared libraries",
		"/wheel":      "version 1.5",
		"/fetch":      "fetched",
		"/untrusted":  "self-signed certificate",
		"/openssl":    fmt.Sprintf("%x", sha512.Sum512_256([]byte("openssl"))),
		"/lzma":       strings.Repeat("lzma", 1000),
		"/executable": "/usr/bin/python3",
	} {
		wantJSON, err := json.Marshal(want)
		must.NoError(t, err)
		must.Eq(t, string(wantJSON), get(t, client, "https://10.0.0.2"+path).body, must.Sprint(path))
	}
}

// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/spdx"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/version"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

const (
	redisLog = "redis (5:7.0.15-1~deb12u10) bookworm-security; urgency=high\n\n  * Change.\n\n" +
		" -- A Name <a@example.com>  Sun, 05 Jul 2026 10:00:00 +0200\n\nredis (5:7.0.15-1) unstable; urgency=low\n"
	linuxLog = "linux (6.1.192-2) bookworm-security; urgency=high\n\n  * Change.\n\n" +
		" -- A Name <a@example.com>  Tue, 1 Sep 2026 09:00:00 +0000\n"
)

// writePackages writes an unpacked source package and an unpacked binary package.
func writePackages(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	doc := filepath.Join(dir, "linux-source-6.1/usr/share/doc/linux-source-6.1")
	must.NoError(t, os.MkdirAll(filepath.Join(dir, "redis/debian"), 0o755))
	must.NoError(t, os.MkdirAll(doc, 0o755))
	must.NoError(t, os.WriteFile(filepath.Join(dir, "redis/debian/changelog"), []byte(redisLog), 0o600))
	var compressed bytes.Buffer
	w := gzip.NewWriter(&compressed)
	_, err := io.WriteString(w, linuxLog)
	must.NoError(t, err)
	must.NoError(t, w.Close())
	must.NoError(t, os.WriteFile(filepath.Join(doc, "changelog.Debian.gz"), compressed.Bytes(), 0o600))
	must.NoError(t, os.WriteFile(filepath.Join(dir, "lkl-redis.spt"), []byte("kernel"), 0o600))
	must.NoError(t, os.WriteFile(filepath.Join(dir, "suites"), []byte("# Two words\n\nlinux trixie\n"), 0o600))
	return dir
}

func TestRun_ListsSourcePackages(t *testing.T) {
	dir := writePackages(t)
	write := func() []byte {
		out := filepath.Join(dir, "out.json")
		must.NoError(t, run([]string{
			"-name", "lkl-redis", "-o", out, "-file", filepath.Join(dir, "lkl-redis.spt"), "-package", "gcc-12=12.2.0-14+deb12u1",
			"-release", "bookworm", "-suites", filepath.Join(dir, "suites"),
			filepath.Join(dir, "redis"), filepath.Join(dir, "linux-source-6.1"),
		}))
		content, err := os.ReadFile(out)
		must.NoError(t, err)
		return content
	}
	content := write()
	must.NoError(t, spdx.Check(content))
	must.Eq(t, string(content), string(write()), must.Sprint("it does not depend on the time"))
	var d struct {
		CreationInfo struct{ Created string }
		Packages     []struct {
			Name, VersionInfo, LicenseDeclared string
			ExternalRefs                       []struct{ ReferenceLocator string }
		}
	}
	must.NoError(t, json.Unmarshal(content, &d))
	must.Eq(t, "2026-09-01T09:00:00Z", d.CreationInfo.Created)
	var got [][]string
	for _, p := range d.Packages[1:] {
		got = append(got, []string{p.Name, p.VersionInfo, p.LicenseDeclared, p.ExternalRefs[0].ReferenceLocator})
	}
	must.Eq(t, [][]string{
		{"redis", "5:7.0.15-1~deb12u10", "BSD-3-Clause", "pkg:deb/debian/redis@5:7.0.15-1~deb12u10?arch=source&distro=bookworm"},
		{"linux", "6.1.192-2", "GPL-2.0-only", "pkg:deb/debian/linux@6.1.192-2?arch=source&distro=trixie"},
		{"gcc-12", "12.2.0-14+deb12u1", "GPL-3.0-or-later WITH GCC-exception-3.1", "pkg:deb/debian/gcc-12@12.2.0-14%2Bdeb12u1?arch=source&distro=bookworm"},
		{"nomad-driver-lkl", version.Version, "MPL-2.0", "pkg:generic/nomad-driver-lkl@" + version.Version},
	}, got)
}

func TestRun_RefusesDirectoriesWithoutChangelog(t *testing.T) {
	dir := writePackages(t)
	err := run([]string{"-name", "x", "-o", filepath.Join(dir, "out.json"), "-file", filepath.Join(dir, "lkl-redis.spt"), t.TempDir()})
	must.ErrorContains(t, err, "changelog")
}

func TestBuildApp_ListsThePackagesOfTheGuests(t *testing.T) {
	for guest, want := range map[string][]string{
		"lkl-busybox":   {"busybox"},
		"lkl-haproxy":   {"haproxy", "openssl", "pcre2"},
		"lkl-hello":     {},
		"lkl-lighttpd":  {"lighttpd", "openssl", "pcre2", "zlib"},
		"lkl-memcached": {"memcached", "libevent", "openssl"},
		"lkl-mosquitto": {"mosquitto", "openssl"},
		"lkl-nginx":     {"nginx", "ca-certificates", "openssl", "pcre2", "zlib"},
		"lkl-python3":   {"python3.11", "bzip2", "expat", "tzdata", "ca-certificates", "libffi", "openssl", "sqlite3", "xz-utils", "zlib"},
		"lkl-redis":     {"redis"},
		"lkl-sqlite3":   {"sqlite3", "zlib"},
	} {
		want = append(want, "linux", "musl", project)
		t.Run(guest, func(t *testing.T) {
			content, err := os.ReadFile(testenv.Guest(t, guest+".spdx.json"))
			must.NoError(t, err)
			must.NoError(t, spdx.Check(content))
			var d struct {
				Packages []struct {
					Name      string
					Checksums []struct{ ChecksumValue string }
				}
			}
			must.NoError(t, json.Unmarshal(content, &d))
			kernel, err := os.ReadFile(testenv.Guest(t, guest+".spt"))
			must.NoError(t, err)
			sum := sha256.Sum256(kernel)
			must.Eq(t, hex.EncodeToString(sum[:]), d.Packages[0].Checksums[0].ChecksumValue)
			var got []string
			for _, p := range d.Packages[2:] { // after the kernels for spt and hvt
				if !strings.HasPrefix(p.Name, "gcc-") { // unknown if gcc is not Debian's
					got = append(got, p.Name)
				}
			}
			must.Eq(t, want, got)
		})
	}
}

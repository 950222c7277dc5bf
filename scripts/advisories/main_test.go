// SPDX-License-Identifier: MPL-2.0

package main

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

func TestSourceVersions_AreThoseOfTheCache(t *testing.T) {
	cache := t.TempDir()
	for name, version := range map[string]string{
		"redis": "7.0.15-1~deb12u10", "linux-source-6.1": "6.1.192-2", "gcc-12-source": "12.2.0-14+deb12u1",
	} {
		must.NoError(t, os.Mkdir(filepath.Join(cache, name+"-"+version), 0o755))
		must.NoError(t, os.Symlink(name+"-"+version, filepath.Join(cache, name)))
	}
	// A package of another release replaces that of the machine's.
	must.NoError(t, os.Mkdir(filepath.Join(cache, "trixie"), 0o755))
	for name, version := range map[string]string{"musl": "1.2.3-1", "trixie/musl": "1.2.5-3"} {
		target := "musl-" + version
		must.NoError(t, os.Mkdir(filepath.Join(cache, target), 0o755))
		must.NoError(t, os.Symlink("link", filepath.Join(cache, target, "a-link")))
		if name != "musl" {
			target = "../" + target
		}
		must.NoError(t, os.Symlink(target, filepath.Join(cache, name)))
	}
	sources, err := sourceVersions(cache, "bookworm")
	must.NoError(t, err)
	must.Eq(t, []source{
		{"gcc-12", "12.2.0-14+deb12u1", "bookworm"},
		{"linux", "6.1.192-2", "bookworm"},
		{"musl", "1.2.5-3", "trixie"},
		{"redis", "7.0.15-1~deb12u10", "bookworm"},
	}, sources)
}

func TestFixedIssues_ComparesVersionsWithTheTracker(t *testing.T) {
	testenv.Need(t, testenv.Tool("dpkg"))
	server := httptest.NewServer(http.FileServer(http.Dir("testdata")))
	defer server.Close()
	tracker, err := download(server.URL + "/tracker.json")
	must.NoError(t, err)
	for version, want := range map[string]int{"7.0.15-1~deb12u10": 2, "7.0.15-1~deb12u11": 1, "7.0.15-1~deb12u8": 3} {
		var out strings.Builder
		found, err := fixedIssues(&out, tracker, []source{
			{"musl", "1.2.5-3", "trixie"}, {"linux", "6.1.192-2", "bookworm"}, {"redis", version, "bookworm"},
		})
		must.NoError(t, err)
		must.Len(t, want, found, must.Sprint(version))
		must.Eq(t, "CVE-2025-26519", found[0].id, must.Sprint("fixed in trixie"))
		must.StrContains(t, out.String(), "linux 6.1.192-2 has 1 known vulnerabilities")
	}
}

func TestCalledVulnerabilities_NeedACallOfTheFunction(t *testing.T) {
	found, err := calledVulnerabilities(strings.NewReader(`
{"config": {"scanner_name": "govulncheck"}}
{"osv": {"id": "GO-2025-0001"}}
{"finding": {"osv": "GO-2025-0001", "trace": [{"module": "a.org/b", "version": "v1.0.0"}]}}
{"finding": {"osv": "GO-2025-0001", "trace": [{"module": "a.org/b", "version": "v1.0.0", "package": "a.org/b/c"}]}}
{"finding": {"osv": "GO-2025-0002", "trace": [{"module": "a.org/b", "version": "v1.0.0", "package": "a.org/b/c", "function": "F"}]}}
{"finding": {"osv": "GO-2025-0002", "trace": [{"module": "a.org/b", "version": "v1.0.0", "package": "a.org/b/c", "function": "G"}]}}
`))
	must.NoError(t, err)
	must.Len(t, 1, found)
	must.Eq(t, "GO-2025-0002", found[0].id)
	must.StrContains(t, found[0].text, "a.org/b/c.F of a.org/b v1.0.0")
	_, err = calledVulnerabilities(strings.NewReader(`{"finding": `))
	must.Error(t, err)
}

func TestReport_FailsOnlyForFindingsThatAreNotAccepted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "accepted")
	must.NoError(t, os.WriteFile(path, []byte("# comment\n\nCVE-1 the module is not used\n"), 0o600))
	accepted, err := readAccepted(path)
	must.NoError(t, err)
	var out strings.Builder
	must.NoError(t, report(&out, accepted, []finding{{"CVE-1", "bad"}}))
	must.Eq(t, "", out.String())
	must.Error(t, report(&out, accepted, []finding{{"CVE-1", "bad"}, {"CVE-2", "worse"}}))
	must.Eq(t, "advisories: CVE-2: worse\n", out.String())
	must.Error(t, report(&out, accepted, nil, errors.New("cannot decode")))

	must.NoError(t, os.WriteFile(path, []byte("CVE-1\n"), 0o600))
	_, err = readAccepted(path)
	must.ErrorContains(t, err, "CVE-1 has no reason")
	_, err = readAccepted("accepted")
	must.NoError(t, err, must.Sprint("the project's own list"))
}

// A network that is down must not fail the check.
func TestDownload_AnyFailureMeansUnreachable(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	_, err := download(server.URL)
	must.ErrorIs(t, err, errUnreachable)
	server.Close()
	_, err = download(server.URL)
	must.ErrorIs(t, err, errUnreachable)
	var out strings.Builder
	must.NoError(t, report(&out, nil, nil, err))
	must.Eq(t, 1, strings.Count(out.String(), "\n"))
}

// SPDX-License-Identifier: MPL-2.0

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// An issue is a vulnerability of a source package in Debian's tracker.
type issue struct {
	Releases map[string]struct {
		Status       string // open, resolved or undetermined
		FixedVersion string `json:"fixed_version"` // "0": was never vulnerable
		Urgency      string
	}
}

// checkSources returns the vulnerabilities of the sources from which the guests are
// built that are fixed in the Debian release of the source. It prints the number of
// those without a fix.
func checkSources(w io.Writer) ([]finding, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, err
	}
	info, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return nil, err
	}
	release := regexp.MustCompile(`(?m)^VERSION_CODENAME=(\w+)$`).FindSubmatch(info)
	if release == nil {
		return nil, nil // not Debian: there are no sources
	}
	versions, err := sourceVersions(filepath.Join(cache, "nomad-driver-lkl", "src"), string(release[1]))
	if err != nil || len(versions) == 0 {
		return nil, err // guest/source will download the newest
	}
	content, err := download(debianDatabase)
	if err != nil {
		return nil, err
	}
	return fixedIssues(w, content, versions)
}

// A source is a version of a source package in a Debian release.
type source struct{ name, version, release string }

// binaryNames matches the binary packages with sources: linux-source-6.1 is from the
// source package linux, and gcc-12-source from gcc-12.
var binaryNames = regexp.MustCompile(`^(?:(linux)-(?:source|kbuild)-[0-9.]+|(gcc-[0-9]+)-source)$`)

// sourceVersions returns the source packages in the cache of guest/source, sorted by
// name. NAME is a link to NAME-VERSION from the release of this machine, and
// RELEASE/NAME one from another release, which replaces it in the guests.
func sourceVersions(cache, release string) ([]source, error) {
	links, err := filepath.Glob(filepath.Join(cache, "[a-z]*"))
	if err != nil {
		return nil, err
	}
	others, err := filepath.Glob(filepath.Join(cache, "[a-z]*", "[a-z]*"))
	if err != nil {
		return nil, err
	}
	sources := map[string]source{}
	for _, link := range append(links, others...) {
		target, err := os.Readlink(link)
		if err != nil {
			continue // the directory of a version, or a file in it
		}
		name, from := filepath.Base(link), release
		version, found := strings.CutPrefix(filepath.Base(target), name+"-")
		if dir := filepath.Dir(link); dir != cache {
			from = filepath.Base(dir)
			found = found && filepath.Dir(target) == ".."
		}
		if found {
			name = binaryNames.ReplaceAllString(name, "$1$2")
			sources[name] = source{name, version, from}
		}
	}
	return slices.SortedFunc(maps.Values(sources), func(a, b source) int { return strings.Compare(a.name, b.name) }), nil
}

// fixedIssues returns the issues of the sources that later versions of their releases
// fix.
func fixedIssues(w io.Writer, tracker []byte, sources []source) ([]finding, error) {
	var issues map[string]map[string]issue
	if err := json.Unmarshal(tracker, &issues); err != nil {
		return nil, fmt.Errorf("decode %s: %w", debianDatabase, err)
	}
	var found []finding
	for _, s := range sources {
		unfixed := 0
		for _, id := range slices.Sorted(maps.Keys(issues[s.name])) {
			in := issues[s.name][id].Releases[s.release]
			switch {
			case in.Status == "open" && in.Urgency != "unimportant":
				unfixed++
			case in.Status == "resolved" && in.FixedVersion != "0" && older(s.version, in.FixedVersion):
				found = append(found, finding{id, fmt.Sprintf("fixed in %s %s, but the guests contain %s: "+
					"run guest/source --update for it, and build the guests again", s.name, in.FixedVersion, s.version)})
			}
		}
		if unfixed > 0 {
			fmt.Fprintf(w, "advisories: %s %s has %d known vulnerabilities that Debian %s has not fixed yet: "+
				"https://security-tracker.debian.org/tracker/source-package/%s\n", s.name, s.version, unfixed, s.release, s.name)
		}
	}
	return found, nil
}

// older compares versions of a Debian package. The names in the cache have no epoch.
func older(version, fixed string) bool {
	if _, withoutEpoch, found := strings.Cut(fixed, ":"); found {
		fixed = withoutEpoch
	}
	return exec.Command("dpkg", "--compare-versions", version, "lt", fixed).Run() == nil
}

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
// built that are fixed in this machine's Debian release. It prints the number of
// those without a fix.
func checkSources(w io.Writer) ([]finding, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, err
	}
	versions, err := sourceVersions(filepath.Join(cache, "nomad-driver-lkl", "src"))
	if err != nil || len(versions) == 0 {
		return nil, err // guest/source will download the newest
	}
	info, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return nil, err
	}
	release := regexp.MustCompile(`(?m)^VERSION_CODENAME=(\w+)$`).FindSubmatch(info)
	if release == nil {
		return nil, nil // not Debian: there are no sources
	}
	content, err := download(debianDatabase)
	if err != nil {
		return nil, err
	}
	return fixedIssues(w, content, string(release[1]), versions)
}

// binaryNames matches the binary packages with sources: linux-source-6.1 is from the
// source package linux, and gcc-12-source from gcc-12.
var binaryNames = regexp.MustCompile(`^(?:(linux)-(?:source|kbuild)-[0-9.]+|(gcc-[0-9]+)-source)$`)

// sourceVersions returns the versions of the source packages in the cache of
// guest/source, where NAME is a link to NAME-VERSION.
func sourceVersions(cache string) (map[string]string, error) {
	links, err := filepath.Glob(filepath.Join(cache, "[a-z]*"))
	if err != nil {
		return nil, err
	}
	versions := map[string]string{}
	for _, link := range links {
		target, err := os.Readlink(link)
		if err != nil {
			continue // the directory of a version
		}
		name := filepath.Base(link)
		version := strings.TrimPrefix(target, name+"-")
		versions[binaryNames.ReplaceAllString(name, "$1$2")] = version
	}
	return versions, nil
}

// fixedIssues returns the issues of the versions that later versions of the release
// fix.
func fixedIssues(w io.Writer, tracker []byte, release string, versions map[string]string) ([]finding, error) {
	var issues map[string]map[string]issue
	if err := json.Unmarshal(tracker, &issues); err != nil {
		return nil, fmt.Errorf("decode %s: %w", debianDatabase, err)
	}
	var found []finding
	for _, name := range slices.Sorted(maps.Keys(versions)) {
		version, unfixed := versions[name], 0
		for _, id := range slices.Sorted(maps.Keys(issues[name])) {
			in := issues[name][id].Releases[release]
			switch {
			case in.Status == "open" && in.Urgency != "unimportant":
				unfixed++
			case in.Status == "resolved" && in.FixedVersion != "0" && older(version, in.FixedVersion):
				found = append(found, finding{id, fmt.Sprintf("fixed in %s %s, but the guests contain %s: "+
					"run guest/source --update for it, and build the guests again", name, in.FixedVersion, version)})
			}
		}
		if unfixed > 0 {
			fmt.Fprintf(w, "advisories: %s %s has %d known vulnerabilities that Debian %s has not fixed yet: "+
				"https://security-tracker.debian.org/tracker/source-package/%s\n", name, version, unfixed, release, name)
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

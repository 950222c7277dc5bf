// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bufio"
	"cmp"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// debianPackage is a Debian source package.
type debianPackage struct {
	name, version string
	date          time.Time // zero if it is unknown
	release       string    // such as bookworm; empty if it is unknown
}

// The first line of an entry in a changelog, and the last one. See deb-changelog(5).
var (
	changelogFirst = regexp.MustCompile(`^([a-z0-9][a-z0-9.+-]*) \(([^()\s]+)\) `)
	changelogLast  = regexp.MustCompile(`^ -- .+  (.+)$`)
)

// readPackages reads the changelogs of the packages in directories.
func readPackages(dirs []string) ([]debianPackage, error) {
	var packages []debianPackage
	for _, dir := range dirs {
		p, err := readPackage(dir)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", dir, err)
		}
		packages = append(packages, p)
	}
	return packages, nil
}

// setReleases sets the releases of packages: that of a line NAME RELEASE in the file
// suites, or else the one given.
func setReleases(packages []debianPackage, release, suites string) error {
	others := map[string]string{}
	if suites != "" {
		content, err := os.ReadFile(suites)
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(content)) {
			if words := strings.Fields(line); len(words) == 2 && words[0] != "#" {
				others[words[0]] = words[1]
			}
		}
	}
	for i := range packages {
		packages[i].release = cmp.Or(others[packages[i].name], release)
	}
	return nil
}

// readPackage reads the changelog of an unpacked source package or binary package. The
// changelog names the source package in both.
func readPackage(dir string) (debianPackage, error) {
	f, err := os.Open(filepath.Join(dir, "debian/changelog"))
	if err == nil {
		defer f.Close()
		return readChangelog(f)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return debianPackage{}, err
	}
	found, err := filepath.Glob(filepath.Join(dir, "usr/share/doc/*/changelog.Debian.gz"))
	if err == nil && len(found) == 0 { // a package that only Debian has
		found, err = filepath.Glob(filepath.Join(dir, "usr/share/doc/*/changelog.gz"))
	}
	if err == nil && len(found) != 1 {
		err = fmt.Errorf("it has %d Debian changelogs, not 1: it is not an unpacked Debian package", len(found))
	}
	if err != nil {
		return debianPackage{}, err
	}
	if f, err = os.Open(found[0]); err != nil {
		return debianPackage{}, err
	}
	defer f.Close()
	content, err := gzip.NewReader(f)
	if err != nil {
		return debianPackage{}, fmt.Errorf("%s: %w", found[0], err)
	}
	return readChangelog(content)
}

// readChangelog reads the newest entry, which is the first.
func readChangelog(r io.Reader) (debianPackage, error) {
	var p debianPackage
	for lines := bufio.NewScanner(r); lines.Scan(); {
		if match := changelogFirst.FindStringSubmatch(lines.Text()); match != nil && p.name == "" {
			p.name, p.version = match[1], match[2]
		}
		match := changelogLast.FindStringSubmatch(lines.Text())
		if match == nil || p.name == "" {
			continue
		}
		var err error
		p.date, err = time.Parse("Mon, _2 Jan 2006 15:04:05 -0700", strings.TrimSpace(match[1]))
		return p, err
	}
	return p, errors.New("the Debian changelog has no complete entry")
}

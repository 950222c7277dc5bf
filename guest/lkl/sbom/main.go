// SPDX-License-Identifier: MPL-2.0

// Sbom lists the Debian source packages that a Linux guest was built from, as an SPDX
// document in JSON. build-app runs it.
//
//	sbom -name NAME -o FILE -release RELEASE -suites FILE [-file KERNEL] ...
//		[-package NAME=VERSION] ... DIR ...
//
// Each DIR is an unpacked Debian package. The version of the first one is the version of
// the kernels. The packages are from a Debian RELEASE, such as bookworm, or from another
// release that the file suites names for them (guest/suites).
package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/atomicfile"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/spdx"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/version"
)

// licenses are those of the code that guests contain, by Debian source package. For a
// package that is not listed, the license is unknown. xz-utils is not: its library is in the
// public domain, for which SPDX has no identifier.
var licenses = map[string]string{
	"busybox":         "GPL-2.0-only",
	"bzip2":           "bzip2-1.0.6",
	"ca-certificates": "MPL-2.0",
	"expat":           "MIT",
	"gcc-12":          "GPL-3.0-or-later WITH GCC-exception-3.1",
	"haproxy":         "GPL-2.0-or-later AND LGPL-2.1-or-later",
	"libevent":        "BSD-3-Clause",
	"libffi":          "MIT",
	"lighttpd":        "BSD-3-Clause",
	"linux":           "GPL-2.0-only",
	"memcached":       "BSD-3-Clause",
	"mosquitto":       "EPL-2.0 OR BSD-3-Clause",
	"musl":            "MIT",
	"nginx":           "BSD-2-Clause",
	"openssl":         "Apache-2.0",
	"pcre2":           "BSD-3-Clause",
	"python3.11":      "PSF-2.0",
	"redis":           "BSD-3-Clause",
	"sqlite3":         "blessing",
	"zlib":            "Zlib",
}

// project is the name of this project. Guests contain its start program and Solo5 bindings.
const project = "nomad-driver-lkl"

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "sbom:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	var contents spdx.Contents
	var output, release, suites string
	var further []debianPackage
	flags := flag.NewFlagSet("sbom", flag.ContinueOnError)
	flags.StringVar(&contents.Name, "name", "", "name of the document")
	flags.StringVar(&output, "o", "", "file to write")
	flags.StringVar(&release, "release", "", "Debian release of the packages")
	flags.StringVar(&suites, "suites", "", "file with the packages of other releases")
	flags.Func("file", "kernel that the document describes", func(path string) error {
		f, err := describe(path)
		contents.Files = append(contents.Files, f)
		return err
	})
	flags.Func("package", "NAME=VERSION of a further source package", func(value string) error {
		name, version, ok := strings.Cut(value, "=")
		if !ok || name == "" || version == "" {
			return errors.New("it must have the form NAME=VERSION")
		}
		further = append(further, debianPackage{name: name, version: version})
		return nil
	})
	if err := flags.Parse(args); err != nil {
		return err
	}
	if contents.Name == "" || output == "" || len(contents.Files) == 0 {
		return errors.New("-name, -o and -file are required")
	}
	packages, err := readPackages(flags.Args())
	if err != nil {
		return err
	}
	packages = withoutRepeated(append(packages, further...))
	if err := setReleases(packages, release, suites); err != nil {
		return err
	}
	addPackages(&contents, packages)
	content, err := contents.Marshal()
	if err != nil {
		return err
	}
	const perm = 0o644
	return atomicfile.Write(output, content, perm)
}

// withoutRepeated removes repeated packages: an application can use a library of its source package.
func withoutRepeated(packages []debianPackage) []debianPackage {
	seen := map[string]bool{}
	return slices.DeleteFunc(packages, func(p debianPackage) bool {
		id := p.name + "=" + p.version
		repeated := seen[id]
		seen[id] = true
		return repeated
	})
}

// describe returns the name and digest of a kernel.
func describe(path string) (spdx.File, error) {
	content, err := os.ReadFile(path)
	sum := sha256.Sum256(content)
	return spdx.File{Name: filepath.Base(path), SHA256: hex.EncodeToString(sum[:])}, err
}

// addPackages adds packages, of which the first is the application. The document's time
// is that of the newest package, so that it does not depend on the time of the build.
func addPackages(contents *spdx.Contents, packages []debianPackage) {
	for i := range contents.Files {
		if len(packages) > 0 {
			contents.Files[i].Version = packages[0].version
		}
	}
	for _, p := range packages {
		contents.Packages = append(contents.Packages, p.entry())
		if p.date.After(contents.Created) {
			contents.Created = p.date
		}
	}
	contents.Packages = append(contents.Packages, spdx.Package{
		Name: project, Version: version.Version, License: "MPL-2.0", Purpose: "SOURCE",
		PURL: "pkg:generic/" + project + "@" + url.PathEscape(version.Version),
	})
}

// entry returns the package for the document.
func (p debianPackage) entry() spdx.Package {
	purl := "pkg:deb/debian/" + url.PathEscape(p.name) + "@" + escapeVersion(p.version) + "?arch=source"
	if p.release != "" {
		purl += "&distro=" + url.QueryEscape(p.release)
	}
	return spdx.Package{
		Name: p.name, Version: p.version, License: licenses[p.name], Supplier: "Organization: Debian", Purpose: "SOURCE", PURL: purl,
	}
}

// escapeVersion escapes a version for a package URL, which leaves colons as they are.
func escapeVersion(version string) string {
	return strings.ReplaceAll(strings.ReplaceAll(url.QueryEscape(version), "%3A", ":"), "%7E", "~")
}

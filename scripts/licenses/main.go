// SPDX-License-Identifier: MPL-2.0

// Licenses prints every module that the given packages link, with its version
// and its licenses, and fails when one of the licenses is not an open-source
// license that this project accepts.
//
//	go run ./scripts/licenses [-q] PACKAGE ...
//
// It reads the module cache. The license of a package is the one in the nearest
// directory above it that has a license file. The SPDX identifiers in the
// package's own files count in addition, because a module can contain packages
// under different licenses.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"text/tabwriter"
)

// accepted are the licenses that a linked package may have, by SPDX identifier.
var accepted = []string{
	"Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "MPL-2.0", "Unlicense",
}

func main() {
	quiet := flag.Bool("q", false, "print only the modules that are refused")
	flag.Parse()
	if err := run(os.Stdout, *quiet, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "licenses:", err)
		os.Exit(1)
	}
}

func run(w io.Writer, quiet bool, patterns []string) error {
	if len(patterns) == 0 {
		return errors.New("no package given (usage: licenses [-q] PACKAGE ...)")
	}
	packages, err := listPackages(patterns)
	if err != nil {
		return err
	}
	modules, err := survey(packages)
	if err != nil {
		return err
	}
	if !quiet {
		if err := printTable(w, modules); err != nil {
			return err
		}
	}
	return refused(modules)
}

// A goPackage is the part of go list's output that matters here.
type goPackage struct {
	ImportPath string
	Dir        string
	Standard   bool
	GoFiles    []string
	CgoFiles   []string
	SFiles     []string
	HFiles     []string
	CFiles     []string
	Module     *struct{ Path, Version, Dir string }
}

func (p *goPackage) files() []string {
	return slices.Concat(p.GoFiles, p.CgoFiles, p.SFiles, p.HFiles, p.CFiles)
}

// listPackages returns the packages of the patterns and all that they import.
func listPackages(patterns []string) ([]goPackage, error) {
	cmd := exec.Command("go", append([]string{"list", "-deps", "-json"}, patterns...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	var packages []goPackage
	decoder := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var p goPackage
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return packages, nil
		} else if err != nil {
			return nil, fmt.Errorf("go list: %w", err)
		}
		packages = append(packages, p)
	}
}

// A module is what the report says about a Go module.
type module struct {
	path, version string
	licenses      []string
	packages      int
	refused       []string // packages, each with the reason
}

func (m *module) add(p goPackage, licenses []string) {
	m.packages++
	if len(licenses) == 0 {
		m.refused = append(m.refused, p.ImportPath+": no license file")
	}
	for _, l := range licenses {
		if !slices.Contains(m.licenses, l) {
			m.licenses = append(m.licenses, l)
		}
		if !slices.Contains(accepted, l) {
			m.refused = append(m.refused, p.ImportPath+": "+l)
		}
	}
}

// survey finds the licenses of the packages, and sorts the result by module.
// The standard library, under Go's own license, is not part of it.
func survey(packages []goPackage) ([]*module, error) {
	byPath := map[string]*module{}
	for _, p := range packages {
		if p.Standard {
			continue
		}
		if p.Module == nil {
			return nil, fmt.Errorf("package %s is in no module", p.ImportPath)
		}
		licenses, err := packageLicenses(p.Module.Dir, p.Dir, p.files())
		if err != nil {
			return nil, err
		}
		m := byPath[p.Module.Path]
		if m == nil {
			m = &module{path: p.Module.Path, version: p.Module.Version}
			byPath[m.path] = m
		}
		m.add(p, licenses)
	}
	modules := make([]*module, 0, len(byPath))
	for _, m := range byPath {
		slices.Sort(m.licenses)
		modules = append(modules, m)
	}
	slices.SortFunc(modules, func(a, b *module) int { return strings.Compare(a.path, b.path) })
	return modules, nil
}

func printTable(w io.Writer, modules []*module) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "MODULE\tVERSION\tLICENSE\tPACKAGES")
	for _, m := range modules {
		fmt.Fprintf(t, "%s\t%s\t%s\t%d\n", m.path, m.version, strings.Join(m.licenses, ", "), m.packages)
	}
	return t.Flush()
}

// refused reports the packages whose license is not accepted.
func refused(modules []*module) error {
	var lines []string
	for _, m := range modules {
		for _, reason := range m.refused {
			lines = append(lines, fmt.Sprintf("%s (%s %s)", reason, m.path, m.version))
		}
	}
	if len(lines) == 0 {
		return nil
	}
	return fmt.Errorf("packages without an accepted license (%s):\n\t%s",
		strings.Join(accepted, ", "), strings.Join(lines, "\n\t"))
}

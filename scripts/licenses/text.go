// SPDX-License-Identifier: MPL-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// licenseFile matches the names of files that contain a license.
var licenseFile = regexp.MustCompile(`(?i)^(licen[cs]e|copying|unlicense)([.-].*)?$`)

// packageLicenses returns the licenses of a package: those of the license files
// in the nearest directory up to the module's root, and those that the package's
// files name in their SPDX header.
func packageLicenses(root, dir string, files []string) ([]string, error) {
	licenses, err := nearestLicenses(root, dir)
	if err != nil {
		return nil, err
	}
	for _, name := range files {
		content, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return nil, err
		}
		if l := spdxHeader(string(content)); l != "" {
			licenses = append(licenses, l)
		}
	}
	slices.Sort(licenses)
	return slices.Compact(licenses), nil
}

func nearestLicenses(root, dir string) ([]string, error) {
	for {
		licenses, err := directoryLicenses(dir)
		if err != nil || len(licenses) > 0 {
			return licenses, err
		}
		if dir == root || len(dir) <= len(root) {
			return nil, nil
		}
		dir = filepath.Dir(dir)
	}
}

func directoryLicenses(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var licenses []string
	for _, e := range entries {
		// LICENSE.docs is the license of the documentation, which no program contains.
		extension := filepath.Ext(e.Name())
		if e.IsDir() || !licenseFile.MatchString(e.Name()) || extension == ".go" || extension == ".docs" {
			continue
		}
		path := filepath.Join(dir, e.Name())
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		licenses = append(licenses, classify(string(text))...)
	}
	return licenses, nil
}

// spdxLine matches a line of a comment that contains only an SPDX identifier.
var spdxLine = regexp.MustCompile(`(?m)^\s*(?://|/\*|\*|#)\s*SPDX-License-Identifier:\s*(.*?)\s*(?:\*/)?\s*$`)

// spdxHeader returns the SPDX expression at the top of a source file, or "".
func spdxHeader(source string) string {
	const header = 4096
	m := spdxLine.FindStringSubmatch(source[:min(len(source), header)])
	if m == nil {
		return ""
	}
	return m[1]
}

// texts are phrases that identify a license. A license file can contain several
// licenses, and all that match count.
var texts = []struct {
	license string
	phrases []string // all of them
	absent  string   // a phrase that excludes the license
}{
	{"BUSL-1.1", []string{"business source license"}, ""},
	{"AGPL", []string{"gnu affero general public license", "terms and conditions"}, ""},
	{"LGPL", []string{"gnu lesser general public license", "terms and conditions"}, ""},
	{"GPL", []string{"gnu general public license", "terms and conditions"}, "gnu lesser general public license"},
	{"SSPL-1.0", []string{"server side public license"}, ""},
	{"Elastic-2.0", []string{"elastic license 2.0"}, ""},
	{"Commons-Clause", []string{"commons clause"}, ""},
	{"MPL-2.0", []string{"mozilla public license", "version 2.0"}, "business source license"},
	{"Apache-2.0", []string{"apache license", "version 2.0"}, ""},
	{"MIT", []string{"permission is hereby granted, free of charge, to any person obtaining a copy"}, ""},
	{"ISC", []string{"permission to use, copy, modify, and", "distribute this software for any purpose with or without fee is hereby granted"}, ""},
	{"BSD-3-Clause", []string{"redistribution and use in source and binary forms", "used to endorse or promote products"}, ""},
	{"BSD-2-Clause", []string{"redistribution and use in source and binary forms"}, "used to endorse or promote products"},
	{"Unlicense", []string{"this is free and unencumbered software released into the public domain"}, ""},
}

var space = regexp.MustCompile(`\s+`)

// classify returns the SPDX identifiers of the licenses in a license file, or
// one that says that the text is not known.
func classify(text string) []string {
	text = strings.ToLower(space.ReplaceAllString(text, " "))
	var found []string
	for _, t := range texts {
		missing := slices.ContainsFunc(t.phrases, func(p string) bool { return !strings.Contains(text, p) })
		if missing || t.absent != "" && strings.Contains(text, t.absent) {
			continue
		}
		found = append(found, t.license)
	}
	if len(found) == 0 {
		return []string{fmt.Sprintf("unknown license (%.40q...)", text)}
	}
	return found
}

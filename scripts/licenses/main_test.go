// SPDX-License-Identifier: MPL-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shoenig/test/must"
)

const (
	mplText  = "Mozilla Public License, version 2.0\n\n1. Definitions\n"
	buslText = `License text copyright (c) 2020 MariaDB Corporation Ab, All Rights Reserved.
"Business Source License" is a trademark of MariaDB Corporation Ab.

Parameters

Change License:       Mozilla Public License, version 2.0
`
	mitText = `Permission is hereby granted, free of charge, to any person
obtaining a copy of this software`
	bsdText = `Redistribution and use in source and binary forms, with or without modification`
	agpl    = `GNU AFFERO GENERAL PUBLIC LICENSE Version 3
Derived from the GNU General Public License. TERMS AND CONDITIONS`
)

func TestClassify(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"MPL":                   {mplText, []string{"MPL-2.0"}},
		"BUSL that becomes MPL": {buslText, []string{"BUSL-1.1"}},
		"MIT":                   {mitText, []string{"MIT"}},
		"BSD with two clauses":  {bsdText, []string{"BSD-2-Clause"}},
		"BSD with three clauses": {
			bsdText + "\nmay not be used to endorse or promote products", []string{"BSD-3-Clause"},
		},
		"two licenses in a file": {mitText + "\n\nApache License\nVersion 2.0", []string{"Apache-2.0", "MIT"}},
	} {
		t.Run(name, func(t *testing.T) { must.Eq(t, c.want, classify(c.text)) })
	}
}

func TestClassify_OtherTextsAreNotAccepted(t *testing.T) {
	for _, text := range []string{buslText, agpl, "All rights reserved.", ""} {
		for _, l := range classify(text) {
			must.SliceNotContains(t, accepted, l, must.Sprint(text))
		}
	}
}

func TestSPDXHeader(t *testing.T) {
	must.Eq(t, "BUSL-1.1", spdxHeader("// Copyright (c) X\n// SPDX-License-Identifier: BUSL-1.1\n\npackage p\n"))
	must.Eq(t, "MIT", spdxHeader("/* SPDX-License-Identifier: MIT */\n"))
	must.Eq(t, "", spdxHeader("package p\n\nvar s = \"// SPDX-License-Identifier: MIT\"\n"))
}

// writeModule writes files into a directory and returns the packages that go
// list would return for it: one for each directory that contains a Go file.
func writeModule(t *testing.T, files map[string]string) []goPackage {
	root := t.TempDir()
	var packages []goPackage
	for name, content := range files {
		path := filepath.Join(root, name)
		must.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		must.NoError(t, os.WriteFile(path, []byte(content), 0o644))
		if filepath.Ext(name) == ".go" {
			packages = append(packages, goPackage{
				ImportPath: "example.com/m/" + filepath.Dir(name), Dir: filepath.Dir(path), GoFiles: []string{filepath.Base(name)},
				Module: &struct{ Path, Version, Dir string }{"example.com/m", "v1.0.0", root},
			})
		}
	}
	return packages
}

func TestRefused(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"the module's license is BUSL": {
			map[string]string{"LICENSE": buslText, "a/a.go": "package a\n"}, "m/a: BUSL-1.1",
		},
		"the license of the directory comes first": {
			map[string]string{"LICENSE": mplText, "a/LICENSE": buslText, "a/a.go": "package a\n"}, "m/a: BUSL-1.1",
		},
		"the header of a file counts": {
			map[string]string{"LICENSE": mplText, "a/a.go": "// SPDX-License-Identifier: BUSL-1.1\npackage a\n"}, "m/a: BUSL-1.1",
		},
		"without a license nothing is allowed": {
			map[string]string{"a/a.go": "package a\n"}, "m/a: no license file",
		},
		"an unknown text": {
			map[string]string{"COPYING": "Do as you like.", "a/a.go": "package a\n"}, "m/a: unknown license",
		},
		"the license of the documentation does not count": {
			map[string]string{"LICENSE": mplText, "LICENSE.docs": "Do as you like.", "a/a.go": "package a\n"}, "",
		},
		"the license of the documentation is not one of the code": {
			map[string]string{"LICENSE.docs": mplText, "a/a.go": "package a\n"}, "m/a: no license file",
		},
		"an MPL package of a BUSL module": {
			map[string]string{"LICENSE": buslText, "api/LICENSE": mplText, "api/x/x.go": "package x\n"}, "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			modules, err := survey(writeModule(t, c.files))
			must.NoError(t, err)
			err = refused(modules)
			if c.want == "" {
				must.NoError(t, err)
			} else {
				must.ErrorContains(t, err, c.want)
			}
		})
	}
}

func TestRun_PrintsTheModulesOfThisProgram(t *testing.T) {
	var out strings.Builder
	must.NoError(t, run(&out, false, []string{"."}))
	must.StrContains(t, out.String(), "github.com/lkl-nomad/nomad-driver-lkl")
	must.StrContains(t, out.String(), "MPL-2.0")
}

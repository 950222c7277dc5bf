// SPDX-License-Identifier: MPL-2.0

// Package docs_test compares the documentation with the tree.
package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/shoenig/test"
	"github.com/shoenig/test/must"
)

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.*)$`)
	block   = regexp.MustCompile("(?ms)^ *```.*?^ *```$")
	// punctuation is the part of a heading that its anchor lacks.
	punctuation = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
	// treePath matches a path in backticks that starts with a directory of the tree.
	treePath = regexp.MustCompile("`((?:cmd|driver|disk|docs|e2e|examples|executor|files|fingerprint|guest|hostcheck|image|internal|network|scripts|" +
		"tender|testenv|unikernel)/[A-Za-z0-9_./-]*)`")
	// namedTest matches a test in backticks, with the directory of its package.
	namedTest = regexp.MustCompile("`([a-z0-9/-]+)\\.((?:Test|Fuzz)[A-Za-z0-9_]+)`")
)

// pages returns the text of every page, without code blocks, by its path. It
// changes to the root of the tree.
func pages(t *testing.T) map[string]string {
	t.Helper()
	t.Chdir("..")
	files := []string{}
	for _, pattern := range []string{"*.md", "docs/*.md", "guest/*.md", "guest/lkl/*/*.md"} {
		found, err := filepath.Glob(pattern)
		must.NoError(t, err)
		files = append(files, found...)
	}
	all := make(map[string]string, len(files))
	for _, file := range files {
		content, err := os.ReadFile(file)
		must.NoError(t, err)
		all[file] = block.ReplaceAllString(string(content), "")
	}
	must.MapContainsKeys(t, all, []string{"README.md", "docs/README.md"})
	return all
}

// anchors returns the anchors that GitHub makes of a page's headings.
func anchors(page string) []string {
	var all []string
	for _, m := range heading.FindAllStringSubmatch(page, -1) {
		name := punctuation.ReplaceAllString(strings.ToLower(m[1]), "")
		all = append(all, strings.ReplaceAll(name, " ", "-"))
	}
	return all
}

func TestPages_LinksLeadSomewhere(t *testing.T) {
	all := pages(t)
	for file, page := range all {
		for _, m := range link.FindAllStringSubmatch(page, -1) {
			path, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(path, "://") {
				continue
			}
			target := file
			if path != "" {
				target = filepath.Join(filepath.Dir(file), path)
			}
			_, err := os.Stat(target)
			test.NoError(t, err, test.Sprintf("%s links to %s", file, m[1]))
			if anchor != "" {
				test.True(t, slices.Contains(anchors(all[target]), anchor), test.Sprintf("%s links to %s: no such heading", file, m[1]))
			}
		}
	}
}

func TestPages_NamedFilesExist(t *testing.T) {
	for file, page := range pages(t) {
		for _, m := range treePath.FindAllStringSubmatch(namedTest.ReplaceAllString(page, ""), -1) {
			found, err := filepath.Glob(m[1])
			must.NoError(t, err)
			test.SliceNotEmpty(t, found, test.Sprintf("%s names %s", file, m[1]))
		}
	}
}

// Every page is in the index.
func TestIndex_ListsEveryPage(t *testing.T) {
	all := pages(t)
	for file := range all {
		if name, ok := strings.CutPrefix(file, "docs/"); ok && name != "README.md" {
			test.StrContains(t, all["docs/README.md"], "]("+name+")")
		}
	}
}

func TestPages_NamedTestsExist(t *testing.T) {
	all := pages(t)
	must.RegexMatch(t, namedTest, all["SECURITY.md"])
	for file, page := range all {
		for _, m := range namedTest.FindAllStringSubmatch(page, -1) {
			sources, err := filepath.Glob(m[1] + "/*_test.go")
			must.NoError(t, err)
			exists := slices.ContainsFunc(sources, func(source string) bool {
				content, err := os.ReadFile(source)
				must.NoError(t, err)
				return strings.Contains(string(content), "\nfunc "+m[2]+"(")
			})
			test.True(t, exists, test.Sprintf("%s names %s.%s, which does not exist", file, m[1], m[2]))
		}
	}
}

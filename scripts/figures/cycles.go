// SPDX-License-Identifier: MPL-2.0

package main

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
)

var (
	// A definition starts in the first column, in the kernel's style.
	cDefinition = regexp.MustCompile(`(?m)^[A-Za-z_][\w \t*]*?\b(\w+)\((?:[^;{}]|\n)*\)\s*\n\{`)
	cStatic     = regexp.MustCompile(`^static\b`)
	cIgnored    = regexp.MustCompile(`(?s)/\*.*?\*/|//[^\n]*|"(?:[^"\\\n]|\\.)*"|__attribute__\s*\(\(.*?\)\)\s*`)
	cWord       = regexp.MustCompile(`\w+`)
)

// cCycles returns the groups of C files in a directory that call functions of each
// other.
func cCycles(dir string) ([][]string, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.c"))
	if err != nil {
		return nil, err
	}
	text, definedIn := map[string]string{}, map[string]string{}
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		name := filepath.Base(path)
		text[name] = cIgnored.ReplaceAllString(string(content), "")
		for _, m := range cDefinition.FindAllStringSubmatch(text[name], -1) {
			if !cStatic.MatchString(m[0]) {
				definedIn[m[1]] = name
			}
		}
	}
	calls := map[string][]string{}
	for name, content := range text {
		used := map[string]bool{}
		for _, word := range cWord.FindAllString(content, -1) {
			if target := definedIn[word]; target != "" && target != name {
				used[target] = true
			}
		}
		calls[name] = slices.Sorted(maps.Keys(used))
	}
	return cycles(calls), nil
}

// cycles returns the sets of nodes that reach each other, in order.
func cycles(graph map[string][]string) [][]string {
	reach := map[string]map[string]bool{}
	for node := range graph {
		reach[node] = reachable(graph, node)
	}
	var found [][]string
	seen := map[string]bool{}
	for _, node := range slices.Sorted(maps.Keys(graph)) {
		if seen[node] || !reach[node][node] {
			continue
		}
		var cycle []string
		for _, other := range slices.Sorted(maps.Keys(reach[node])) {
			if reach[other][node] {
				cycle = append(cycle, other)
				seen[other] = true
			}
		}
		found = append(found, cycle)
	}
	return found
}

// reachable returns the nodes that a path of at least one step leads to.
func reachable(graph map[string][]string, from string) map[string]bool {
	found := map[string]bool{}
	pending := slices.Clone(graph[from])
	for len(pending) > 0 {
		node := pending[len(pending)-1]
		pending = pending[:len(pending)-1]
		if !found[node] {
			found[node] = true
			pending = append(pending, graph[node]...)
		}
	}
	return found
}

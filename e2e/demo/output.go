// SPDX-License-Identifier: MPL-2.0

package main

import (
	"fmt"
	"slices"
	"strings"
)

// A filter selects lines of a command's output.
type filter struct {
	shown string // the equivalent in a shell, shown after the command
	lines func(output string) string
}

var everything = filter{lines: func(output string) string { return output }}

// matching keeps the lines that contain a text, as grep does.
func matching(text string) filter {
	return filter{shown: " | grep " + text, lines: func(output string) string {
		var kept []string
		for line := range strings.Lines(output) {
			if strings.Contains(line, text) {
				kept = append(kept, line)
			}
		}
		return strings.Join(kept, "")
	}}
}

// section keeps the paragraphs with one of the titles.
func section(titles ...string) filter {
	return filter{lines: func(output string) string {
		var kept []string
		for paragraph := range strings.SplitSeq(output, "\n\n") {
			paragraph = strings.Trim(paragraph, "\n")
			first, _, _ := strings.Cut(paragraph, "\n")
			if slices.ContainsFunc(titles, func(title string) bool { return strings.HasPrefix(first, title) }) {
				kept = append(kept, paragraph)
			}
		}
		return strings.Join(kept, "\n\n")
	}}
}

func note(format string, args ...any) { fmt.Printf("     "+format+"\n", args...) }

// show prints the output of a command, indented, without repeated empty lines.
func show(output string) {
	empty := false
	for line := range strings.Lines(strings.Trim(output, "\r\n")) {
		line = strings.TrimRight(line, " \r\n")
		if line == "" && empty {
			continue
		}
		empty = line == ""
		if empty {
			fmt.Println()
		} else {
			fmt.Println("       " + line)
		}
	}
}

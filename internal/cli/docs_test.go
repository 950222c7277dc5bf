// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/shoenig/test/must"
)

var update = flag.Bool("update", false, "write the generated part of docs/commands.md")

const (
	commandsPage  = "../../docs/commands.md"
	beginCommands = "<!-- begin commands: make generate writes this part -->\n"
	endCommands   = "<!-- end commands -->"
)

func TestCommandsPage_HasTheUsageOfEachCommand(t *testing.T) {
	content, err := os.ReadFile(commandsPage)
	must.NoError(t, err)
	before, rest, found := strings.Cut(string(content), beginCommands)
	must.True(t, found)
	got, after, found := strings.Cut(rest, endCommands)
	must.True(t, found)
	var want strings.Builder
	writeUsages(&want, "## lkl", Commands())
	if *update {
		must.NoError(t, os.WriteFile(commandsPage, []byte(before+beginCommands+want.String()+endCommands+after), 0o644))
		return
	}
	must.Eq(t, want.String(), got, must.Sprint("the page differs from the program: run make generate"))
}

func writeUsages(w *strings.Builder, heading string, commands []*Command) {
	for _, c := range commands {
		name := heading + " " + c.Name
		if c.Sub != nil {
			fmt.Fprintf(w, "\n%s\n\nThe commands in this group %s.\n", name, c.Summary)
			writeUsages(w, "#"+name, c.Sub)
			continue
		}
		fmt.Fprintf(w, "\n%s\n\n```text\n%s```\n", name, strings.ReplaceAll(c.Usage, "PROGRAM", "lkl"))
	}
	if !strings.HasPrefix(heading, "###") {
		w.WriteString("\n")
	}
}

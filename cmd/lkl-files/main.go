// SPDX-License-Identifier: MPL-2.0

// Command lkl-files serves the live directories of one task of the LKL driver. The plugin
// embeds this program, and the task's executor starts it; see packages files/jail and
// files/server.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "lkl-files: lkl-executor starts this program; it cannot be used by hand")
	os.Exit(2)
}

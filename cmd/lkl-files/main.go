// SPDX-License-Identifier: MPL-2.0

// Command lkl-files serves the live directories of one task of the LKL driver. The plugin
// embeds this program, and the task's executor starts it; see packages files/jail and
// files/server.
package main

import (
	"os"

	"github.com/lkl-nomad/nomad-driver-lkl/files/server"
)

func main() { os.Exit(server.Main()) }

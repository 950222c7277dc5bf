// SPDX-License-Identifier: MPL-2.0

// Command lkl-executor holds one task of the LKL driver. The plugin carries it
// and starts it; see package executor.
package main

import (
	"os"
	"runtime"

	"github.com/lkl-nomad/nomad-driver-lkl/executor"
)

// From init on, main is on the main thread, as executor.Main asks for.
func init() { runtime.LockOSThread() }

func main() { os.Exit(executor.Main()) }

// SPDX-License-Identifier: MPL-2.0

// Command lkl-executor supervises one task of the LKL driver. The plugin embeds
// and starts it; see package executor.
package main

import (
	"os"
	"runtime"

	"github.com/lkl-nomad/nomad-driver-lkl/executor"
)

// Locking in init keeps the main goroutine on the main thread, which
// executor.Main requires.
func init() { runtime.LockOSThread() }

func main() { os.Exit(executor.Main()) }

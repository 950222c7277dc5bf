// SPDX-License-Identifier: MPL-2.0

// Lkl runs and inspects Linux Kernel Library unikernels, and other Solo5 unikernels, and
// handles their images, without Nomad. It has the same commands as nomad-driver-lkl, and
// starts in a fraction of its time, because it does not link Nomad.
package main

import (
	"os"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/cli"
)

func main() {
	if status, isServer := cli.ServeFiles(os.Args); isServer {
		os.Exit(status)
	}
	os.Exit(cli.Main(cli.Env{
		Program: cli.Program{
			Name: "lkl",
			About: `Runs and inspects Linux Kernel Library unikernels, and other Solo5 unikernels, and
handles their images.`,
		},
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		// This program is also the file server of its guests: it starts no goroutine before.
		OpenFileServer: func() (*os.File, error) { return os.Open("/proc/self/exe") },
	}, os.Args[1:]))
}

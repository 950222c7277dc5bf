// SPDX-License-Identifier: MPL-2.0

// Nomad-driver-lkl runs Linux Kernel Library unikernels, and other Solo5
// unikernels, as Nomad tasks. Without arguments it is a plugin for a Nomad
// client. Its subcommands are for use in a shell.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/nomad/plugins"

	"github.com/lkl-nomad/nomad-driver-lkl/driver"
	"github.com/lkl-nomad/nomad-driver-lkl/executor/bundle"
	"github.com/lkl-nomad/nomad-driver-lkl/files"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/cli"
)

func main() {
	if len(os.Args) == 1 {
		surviveBrokenPipe()
		// In a shell, this prints that the program is a plugin, and exits.
		var d *driver.Driver
		plugins.ServeCtx(func(ctx context.Context, log hclog.Logger) any {
			d = driver.New(ctx, log, bundle.Install)
			return d
		})
		d.Wait()
		return
	}
	os.Exit(cli.Main(cli.Env{
		Program: cli.Program{
			Name: "nomad-driver-lkl",
			About: `Without a command, the program is a Nomad task driver. Install it in the plugin_dir
of a Nomad client; jobs then use driver = "lkl".`,
		},
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		OpenFileServer: func() (*os.File, error) { return bundle.Open(files.Program) },
	}, os.Args[1:]))
}

// surviveBrokenPipe keeps the plugin alive after its agent was killed. The
// plugin's stderr is then a broken pipe, and the Go runtime ends a program by
// SIGPIPE that writes to such a stderr. The next agent would reattach to a plugin
// that ends with its next log message. A program that receives the signal on a
// channel does not end. Ignoring the signal would also help, but child processes
// would inherit that.
func surviveBrokenPipe() {
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
}

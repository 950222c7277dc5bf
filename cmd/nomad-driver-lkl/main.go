// SPDX-License-Identifier: MPL-2.0

// Nomad-driver-lkl runs Linux Kernel Library unikernels, and any other Solo5
// unikernel, as Nomad tasks. Without arguments it is a Nomad plugin, which a
// Nomad client starts; its subcommands are for people.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/nomad/plugins"

	"github.com/lkl-nomad/nomad-driver-lkl/driver"
	"github.com/lkl-nomad/nomad-driver-lkl/executor/bundle"
)

// A command gets the arguments after its name and returns the exit status.
type command func(args []string, stdout, stderr io.Writer) int

var commands = map[string]command{
	"run":     runCommand,
	"inspect": inspectCommand,
	"version": versionCommand,
	"help":    helpCommand,
}

// aliases are what people also try.
var aliases = map[string]string{
	"-h": "help", "-help": "help", "--help": "help",
	"-v": "version", "-version": "version", "--version": "version",
}

func main() {
	if len(os.Args) == 1 {
		outliveAgent()
		// Started by hand, this prints that it is a plugin, and ends.
		plugins.ServeCtx(func(ctx context.Context, log hclog.Logger) any { return driver.New(ctx, log, bundle.Install) })
		return
	}
	os.Exit(dispatch(os.Args[1:], os.Stdout, os.Stderr))
}

// outliveAgent lets the plugin live on when its agent is killed. Then nobody
// reads its log any more, and Go ends a program by SIGPIPE that writes to its
// stderr in vain, unless somebody asks for the signal. The next agent would
// reattach to a plugin that ends at its next word. (Ignoring the signal would
// do as well, but the tools that the driver runs would ignore it too.)
func outliveAgent() {
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
}

// dispatch runs the command that the first argument names.
func dispatch(args []string, stdout, stderr io.Writer) int {
	name := args[0]
	if alias, ok := aliases[name]; ok {
		name = alias
	}
	run, ok := commands[name]
	if !ok {
		fmt.Fprintf(stderr, "nomad-driver-lkl: no command %q\n\n%s", name, usage)
		return 2
	}
	return run(args[1:], stdout, stderr)
}

const usage = `Usage: nomad-driver-lkl [command]

Without a command this is a Nomad task driver: put the file into the client's
plugin_dir, and jobs can say driver = "lkl".

Commands:
  run      run a unikernel without Nomad, with the arguments of solo5-spt
  inspect  tell what a unikernel is and what it needs
  version  tell the version
  help     this
`

func helpCommand(_ []string, stdout, _ io.Writer) int {
	fmt.Fprint(stdout, usage)
	return 0
}

func versionCommand(_ []string, stdout, _ io.Writer) int {
	fmt.Fprintf(stdout, "nomad-driver-lkl %s%s (%s, %s/%s)\n",
		driver.Version, revision(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return 0
}

// revision is the commit that the program was built from, where go build knew.
func revision() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	const short = 12
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= short {
			return " " + s.Value[:short]
		}
	}
	return ""
}

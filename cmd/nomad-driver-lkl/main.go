// SPDX-License-Identifier: MPL-2.0

// Nomad-driver-lkl runs Linux Kernel Library unikernels, and other Solo5
// unikernels, as Nomad tasks. Without arguments it is a plugin for a Nomad
// client. Its subcommands are for use in a shell.
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

// A command takes the arguments after its name and returns the exit status.
type command func(args []string, stdout, stderr io.Writer) int

var commands = map[string]command{
	"run":     runCommand,
	"inspect": inspectCommand,
	"version": versionCommand,
	"help":    helpCommand,
}

// aliases are other spellings of commands.
var aliases = map[string]string{
	"-h": "help", "-help": "help", "--help": "help",
	"-v": "version", "-version": "version", "--version": "version",
}

func main() {
	if len(os.Args) == 1 {
		surviveBrokenPipe()
		// In a shell, this prints that the program is a plugin, and exits.
		plugins.ServeCtx(func(ctx context.Context, log hclog.Logger) any { return driver.New(ctx, log, bundle.Install) })
		return
	}
	os.Exit(dispatch(os.Args[1:], os.Stdout, os.Stderr))
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

// dispatch runs the command that the first argument names.
func dispatch(args []string, stdout, stderr io.Writer) int {
	name := args[0]
	if alias, ok := aliases[name]; ok {
		name = alias
	}
	run, ok := commands[name]
	if !ok {
		fmt.Fprintf(stderr, "nomad-driver-lkl: unknown command %q\n\n%s", name, usage)
		return 2
	}
	return run(args[1:], stdout, stderr)
}

const usage = `Usage: nomad-driver-lkl [command]

Without a command, the program is a Nomad task driver. Install it in the plugin_dir
of a Nomad client; jobs then use driver = "lkl".

Commands:
  run      run a unikernel without Nomad, with the arguments of solo5-spt
  inspect  print the properties and the requirements of a unikernel
  version  print the version
  help     print this help
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

// revision returns the commit of the build after a blank, or "" if go build did
// not record it.
func revision() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	const shortLength = 12
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= shortLength {
			return " " + s.Value[:shortLength]
		}
	}
	return ""
}

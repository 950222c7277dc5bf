// SPDX-License-Identifier: MPL-2.0

// Package cli holds the commands for use in a shell. The programs lkl and
// nomad-driver-lkl both have them. Nothing here imports Nomad, whose initialization
// takes longer than most of these commands.
package cli

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/version"
)

// The exit statuses of all commands, except that run exits as Solo5's tenders do.
const (
	exitOK        = 0
	exitFailed    = 1
	exitUsage     = 2 // the command line is not valid
	exitRefused   = 3 // the named file or image is not a unikernel that can run
	exitUnwritten = 4 // the output could not be written
)

// A Program is one of the programs that have the commands.
type Program struct {
	Name  string // as users type it
	About string // the first paragraph of its help
}

// A Command is a command, or a group of commands.
type Command struct {
	Name    string
	Summary string // for the list of commands
	// Usage is the output of --help. PROGRAM stands for the program's name. The
	// first paragraph is the synopsis.
	Usage string
	Run   func(e *Env, args []string) int // returns the exit status
	Sub   []*Command                      // in place of Usage and Run
}

// An Env holds the streams and the name of one run of a command.
type Env struct {
	Program Program
	// Name is the command with the program's name before it, such as
	// "lkl image pull". It starts each error message.
	Name           string
	Usage          string
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// OpenFileServer opens a program that calls ServeFiles, for volumes of guests. It may be nil.
	OpenFileServer func() (*os.File, error)
}

// Commands returns all commands. A new one needs a line here.
func Commands() []*Command {
	return []*Command{
		{Name: "run", Summary: "run a unikernel without Nomad, with the arguments of solo5-spt", Usage: runUsage, Run: runCommand},
		{Name: "inspect", Summary: "print the properties and the requirements of a unikernel", Usage: inspectUsage, Run: inspectCommand},
		{Name: "image", Summary: "pull, list, inspect, remove and build images", Sub: imageCommands()},
		{Name: "tasks", Summary: "list the tasks on this host with their networks", Usage: tasksUsage, Run: tasksCommand},
		{Name: "doctor", Summary: "check the host, and print commands that mend it", Usage: doctorUsage, Run: doctorCommand},
		{Name: "version", Summary: "print the version", Usage: versionUsage, Run: versionCommand},
	}
}

// Main runs the command that the arguments name, and returns the exit status.
// e.Program, Stdin, Stdout and Stderr must be set.
func Main(e Env, args []string) int {
	if len(args) > 0 && (args[0] == "-v" || args[0] == "-version" || args[0] == "--version") {
		args = append([]string{"version"}, args[1:]...)
	}
	e.Name = e.Program.Name
	return e.dispatch(Commands(), args)
}

// dispatch runs one of the commands, or prints help. "help A B" means "A B --help".
func (e *Env) dispatch(commands []*Command, args []string) int {
	if len(args) == 0 {
		fmt.Fprintf(e.Stderr, "%s: a command is required\n\n%s", e.Name, e.listCommands(commands))
		return exitUsage
	}
	switch args[0] {
	case "help", "-h", "-help", "--help":
		if len(args) == 1 {
			return e.print(e.listCommands(commands))
		}
		return e.dispatch(commands, append(slices.Clone(args[1:]), "--help"))
	}
	i := slices.IndexFunc(commands, func(c *Command) bool { return c.Name == args[0] })
	if i < 0 {
		fmt.Fprintf(e.Stderr, "%s: unknown command %q\n\n%s", e.Name, args[0], e.listCommands(commands))
		return exitUsage
	}
	c := commands[i]
	e.Name += " " + c.Name
	if c.Sub != nil {
		return e.dispatch(c.Sub, args[1:])
	}
	e.Usage = strings.ReplaceAll(c.Usage, "PROGRAM", e.Program.Name)
	return c.Run(e, args[1:])
}

// listCommands returns the help of a program or of a group of commands.
func (e *Env) listCommands(commands []*Command) string {
	var b strings.Builder
	fmt.Fprintf(&b, "usage: %s COMMAND [ARGUMENT ...]\n\n", e.Name)
	if e.Name == e.Program.Name {
		fmt.Fprintf(&b, "%s\n\n", e.Program.About)
	}
	fmt.Fprint(&b, "Commands:\n\n")
	for _, c := range commands {
		fmt.Fprintf(&b, "  %-8s %s\n", c.Name, c.Summary)
	}
	fmt.Fprintf(&b, "\n\"%s COMMAND --help\" describes a command.\n", e.Name)
	return b.String()
}

// newFlags returns an empty set of options for parse.
func newFlags() *flag.FlagSet {
	flags := flag.NewFlagSet("", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	return flags
}

// parse sets the options, which may stand before, between and after the operands,
// and returns the operands. After "--", all arguments are operands. If done is true,
// the command must exit with the status, because the user asked for help or the
// options are not valid.
func (e *Env) parse(flags *flag.FlagSet, args []string) (operands []string, status int, done bool) {
	for {
		before := args
		switch err := flags.Parse(args); {
		case errors.Is(err, flag.ErrHelp):
			return nil, e.print(e.Usage), true
		case err != nil:
			return nil, e.usageError(err), true
		}
		args = flags.Args()
		ended := len(args) < len(before) && before[len(before)-len(args)-1] == "--"
		if ended || len(args) == 0 {
			return append(operands, args...), exitOK, false
		}
		operands, args = append(operands, args[0]), args[1:]
	}
}

// print writes text to stdout and returns the exit status.
func (e *Env) print(text string) int {
	if _, err := io.WriteString(e.Stdout, text); err != nil {
		return e.fail(exitUnwritten, err)
	}
	return exitOK
}

// fail prints an error, with the command's name before each of its lines, and
// returns the exit status.
func (e *Env) fail(status int, err error) int {
	for line := range strings.SplitSeq(err.Error(), "\n") {
		fmt.Fprintf(e.Stderr, "%s: %s\n", e.Name, line)
	}
	return status
}

// usageError prints an error in the command line and the synopsis of the command.
func (e *Env) usageError(err error) int {
	status := e.fail(exitUsage, err)
	synopsis, _, _ := strings.Cut(e.Usage, "\n\n")
	fmt.Fprintf(e.Stderr, "%s\n\"%s --help\" lists the options.\n", strings.TrimSpace(synopsis), e.Name)
	return status
}

const versionUsage = `usage: PROGRAM version

Prints the version of the program, and those of the compiler and the architecture.
`

func versionCommand(e *Env, args []string) int {
	operands, status, done := e.parse(newFlags(), args)
	if done {
		return status
	}
	if len(operands) > 0 {
		return e.usageError(fmt.Errorf("unexpected argument %q", operands[0]))
	}
	return e.print(fmt.Sprintf("%s %s%s (%s, %s/%s)\n",
		e.Program.Name, version.Version, revision(), runtime.Version(), runtime.GOOS, runtime.GOARCH))
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

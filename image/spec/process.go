// SPDX-License-Identifier: MPL-2.0

package spec

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
)

// Overrides are a job's settings. An empty one takes the image's.
type Overrides struct {
	// Kernel is the path of the kernel in the image. It replaces only the file: the
	// arguments stay.
	Kernel string
	// Entrypoint replaces the image's ENTRYPOINT and clears its CMD.
	Entrypoint []string
	// Args replace the image's CMD.
	Args []string
	// Env is added to the image's ENV, and wins over it.
	Env        map[string]string
	User       string
	WorkingDir string
	StopSignal string
}

// Process is the program that a task runs from an image.
type Process struct {
	// Kernel is the absolute, clean path of the kernel in the image.
	Kernel string
	// Args are the program's arguments, without its name.
	Args       []string
	Env        map[string]string
	User       string // see LookupUser
	WorkingDir string // absolute and clean, or ""
	StopSignal string // see ParseSignal
}

// Merge returns the process of a job, by Docker's rules. The words of ENTRYPOINT and CMD form
// one list. Its first word is the kernel, the others are the arguments. PATH is not used:
// a relative kernel is relative to the working directory.
//
// ErrNoKernel: the image and the job name no kernel, or a shell.
func (c *Config) Merge(o Overrides) (Process, error) {
	p := Process{
		Env:        c.environment(),
		User:       cmp.Or(o.User, c.User),
		WorkingDir: cmp.Or(o.WorkingDir, c.WorkingDir),
		StopSignal: cmp.Or(o.StopSignal, c.StopSignal),
	}
	maps.Copy(p.Env, o.Env)
	if p.WorkingDir != "" {
		p.WorkingDir = path.Clean("/" + p.WorkingDir)
	}
	kernel, args, err := c.command(o)
	if err != nil {
		return Process{}, err
	}
	if !path.IsAbs(kernel) {
		kernel = path.Join("/", p.WorkingDir, kernel)
	}
	p.Kernel, p.Args = path.Clean(kernel), args
	if p.Kernel == "/" {
		return Process{}, fmt.Errorf("%w: the first word of the entrypoint names the root directory", ErrNoKernel)
	}
	return p, nil
}

// command returns the kernel and the arguments.
func (c *Config) command(o Overrides) (kernel string, args []string, err error) {
	entrypoint, cmd := c.Entrypoint, c.Cmd
	if len(o.Entrypoint) > 0 {
		entrypoint, cmd = o.Entrypoint, nil
	}
	tail := cmd
	if len(o.Args) > 0 {
		tail = o.Args
	}
	if o.Kernel != "" {
		// The kernel replaces the word that names the image's. A job's arguments name no
		// kernel.
		if len(entrypoint) > 0 {
			entrypoint = entrypoint[1:]
		} else if len(o.Args) == 0 && len(tail) > 0 {
			tail = tail[1:]
		}
		return o.Kernel, slices.Concat(entrypoint, tail), nil
	}
	words := slices.Concat(entrypoint, tail)
	switch {
	case len(words) == 0:
		return "", nil, fmt.Errorf("%w: the image has neither ENTRYPOINT nor CMD: "+
			"set kernel to the path of a unikernel in the image, or set entrypoint", ErrNoKernel)
	case words[0] == "":
		return "", nil, fmt.Errorf("%w: the first word of the entrypoint is empty", ErrNoKernel)
	case isShell(words):
		return "", nil, fmt.Errorf("%w: the entrypoint is a shell command (%s -c …), but a unikernel has no shell: "+
			"write ENTRYPOINT as a list, such as [\"/app.spt\"], or set kernel to the path of a unikernel in the image",
			ErrNoKernel, shortened(words[0]))
	}
	return words[0], words[1:], nil
}

// isShell reports whether words are the shell form of ENTRYPOINT or CMD.
func isShell(words []string) bool {
	shells := []string{"sh", "bash", "ash", "dash"}
	return len(words) > 1 && words[1] == "-c" && slices.Contains(shells, path.Base(words[0]))
}

// environment returns the image's ENV. Docker ignores an element without "=".
func (c *Config) environment() map[string]string {
	env := map[string]string{}
	for _, variable := range c.Env {
		if name, value, ok := strings.Cut(variable, "="); ok {
			env[name] = value
		}
	}
	return env
}

// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/lkl-nomad/nomad-driver-lkl/hostcheck"
	"github.com/lkl-nomad/nomad-driver-lkl/image"
	"github.com/lkl-nomad/nomad-driver-lkl/image/reference"
	"github.com/lkl-nomad/nomad-driver-lkl/image/spec"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/bytesize"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
)

const imageInspectUsage = `usage: PROGRAM image inspect [--json] [--kernel PATH] [--state-dir DIR] IMAGE

Prints the configuration and the unikernels of an image, and whether this machine can
run them. IMAGE is a reference or a digest, or the first digits of one, of an image in
the driver's cache. It can also be oci:DIRECTORY[:TAG], oci-archive:FILE[:TAG] or
docker-archive:FILE[:REFERENCE], which is unpacked for the time of the command.

Options:

  --json                    print a JSON object
  --kernel PATH             the unikernel in a file (default: that of the entrypoint)
` + stateDirUsage + `
Exit status:
  0  the image contains a Solo5 unikernel
  1  the image is not in the cache, or cannot be read
  2  the command line is not valid
  3  the image is not for this driver: another platform, or no Solo5 unikernel
  4  the output could not be written
`

// An imageInspection is the output of image inspect, and with --json its JSON object.
type imageInspection struct {
	image.Image
	Kernels []kernelInspection `json:"kernels"` // in place of those of Image

	// isFile reports that the image is a file, which no task uses.
	isFile bool
}

// A kernelInspection describes a unikernel of an image.
type kernelInspection struct {
	image.Kernel
	Flavor    unikernel.Flavor `json:"flavor"`
	Features  []string         `json:"features"`
	MinMemory uint64           `json:"min_memory"` // of the guest, in bytes
	// MinTaskMemory is the least memory of a task that the driver accepts, in bytes.
	MinTaskMemory uint64            `json:"min_task_memory,omitempty"`
	Devices       []inspectedDevice `json:"devices"`
	Needs         []requirement     `json:"needs"`
}

func imageInspectCommand(e *Env, args []string) int {
	var store storeFlags
	flags := newFlags()
	store.define(flags)
	asJSON := flags.Bool("json", false, "")
	kernel := flags.String("kernel", "", "")
	operands, status, done := e.parse(flags, args)
	if done {
		return status
	}
	if len(operands) != 1 {
		return e.usageError(fmt.Errorf("exactly one IMAGE is required, %d are given", len(operands)))
	}
	ctx, stop := interruptible()
	defer stop()
	var found *imageInspection
	var err error
	if ref, parseErr := reference.Parse(operands[0]); parseErr == nil && ref.IsLocal() {
		found, err = inspectFile(ctx, e, image.Request{Reference: ref, Overrides: spec.Overrides{Kernel: *kernel}})
	} else if *kernel != "" {
		return e.usageError(errors.New("--kernel is an option for files: all unikernels of a cached image are printed"))
	} else {
		found, err = store.inspect(ctx, operands[0])
	}
	if err != nil {
		return e.failImage(err)
	}
	write := found.writeText
	if *asJSON {
		write = func(w io.Writer) error { return writeJSON(w, found) }
	}
	if err := write(e.Stdout); err != nil {
		return e.fail(exitUnwritten, err)
	}
	return exitOK
}

// inspect returns the properties of an image in the driver's cache.
func (s *storeFlags) inspect(ctx context.Context, name string) (_ *imageInspection, err error) {
	store, err := s.open(nil)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	return inspectImage(ctx, store, name)
}

// inspectFile brings a local image into a store that exists only during the call, and
// returns its properties.
func inspectFile(ctx context.Context, e *Env, r image.Request) (_ *imageInspection, err error) {
	if r.Local, err = openReference(r.Reference); err != nil {
		return nil, err
	}
	defer r.Local.Close()
	dir, err := os.MkdirTemp("", "lkl-inspect-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	s, err := image.Open(image.Config{Dir: dir})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	p := newProgress(e.Stderr, r.Reference.String())
	r.Progress = func(now image.Progress) { p.update(string(now.Stage), now.Done, now.Total) }
	entry, err := s.Get(ctx, r)
	p.clear()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, entry.Close()) }()
	found, err := inspectImage(ctx, s, entry.Digest)
	if err != nil {
		return nil, err
	}
	found.isFile = true
	return found, nil
}

// inspectImage returns the properties of an image in a store.
func inspectImage(ctx context.Context, s *image.Store, name string) (*imageInspection, error) {
	found, err := s.Inspect(name)
	if err != nil {
		return nil, err
	}
	i := &imageInspection{Image: found}
	host := hostcheck.LocalHost(hostcheck.DriverProbes{})
	for _, k := range found.Kernels {
		kernel, err := inspect(ctx, k.KernelFile, host)
		if err != nil {
			return nil, err
		}
		i.Kernels = append(i.Kernels, kernelInspection{
			Kernel: k, Flavor: kernel.Flavor, Features: kernel.Features, MinMemory: kernel.MinMemory,
			MinTaskMemory: kernel.MinTaskMemory, Devices: kernel.Devices, Needs: checkedNeeds(kernel.Needs),
		})
	}
	return i, nil
}

// checkedNeeds returns the requirements that depend on the host. The hints to the others,
// and to those that are met, are about the options of "run".
func checkedNeeds(all []requirement) []requirement {
	needs := []requirement{}
	for _, n := range all {
		if n.Met == nil {
			continue
		}
		if *n.Met {
			n.Hint = ""
		}
		needs = append(needs, n)
	}
	return needs
}

func (i *imageInspection) writeText(w io.Writer) error {
	return writeTable(w, func(line func(string, ...any)) {
		line("Digest\t%s", i.Digest)
		for _, index := range i.IndexDigests {
			line("Index\t%s", index)
		}
		for _, r := range i.References {
			line("Reference\t%s", printable(r))
		}
		line("Size\t%s in the cache, %s as a registry stores it", bytesize.Format(i.Bytes), bytesize.Format(i.DownloadBytes))
		if len(i.References) == 0 && i.LastName != "" && !i.isFile {
			line("Last name\t%s", printable(i.LastName))
		}
		if !i.isFile {
			line("Last used\t%s ago", formatAge(time.Since(i.LastUsed)))
			line("Tasks\t%s", tasksOf(&i.Image))
		}
		writeConfig(&i.Config, line)
		for _, k := range i.Kernels {
			k.writeLines(line)
		}
	})
}

// writeConfig prints the settings of an image that are not empty. Words are quoted as in
// a Dockerfile.
func writeConfig(c *spec.Config, line func(string, ...any)) {
	line("\nConfiguration")
	words := func(name string, words []string) {
		if len(words) > 0 {
			quoted, _ := json.Marshal(words) // strings always have a JSON form
			line("%s\t%s", name, printable(string(quoted)))
		}
	}
	words("Entrypoint", c.Entrypoint)
	words("Cmd", c.Cmd)
	for _, text := range []struct{ name, value string }{
		{"Working directory", c.WorkingDir},
		{"User", c.User},
		{"Stop signal", c.StopSignal},
		{"Ports", strings.Join(c.ExposedPorts, ", ")},
	} {
		if text.value != "" {
			line("%s\t%s", text.name, printable(text.value))
		}
	}
	for _, variable := range c.Env {
		line("Env\t%s", printable(variable))
	}
	for _, label := range slices.Sorted(maps.Keys(c.Labels)) {
		line("Label\t%s=%s", printable(label), printable(c.Labels[label]))
	}
}

func (k *kernelInspection) writeLines(line func(string, ...any)) {
	line("\nUnikernel %s", printable(k.Path))
	line("SHA-256\t%s", k.SHA256)
	line("Target\t%s, ABI version %d", k.Target, k.ABI)
	line("Flavor\t%s", k.Flavor)
	if len(k.Features) > 0 {
		line("Features\t%s", strings.Join(k.Features, ", "))
	}
	if k.MinTaskMemory > 0 {
		line("Memory\ta task needs %d MiB, and more for the program's own data", k.MinTaskMemory>>20)
	}
	var devices []string
	for _, d := range k.Devices {
		devices = append(devices, fmt.Sprintf("%s (%s)", d.Name, d.Type))
	}
	line("Devices\t%s", strings.Join(devices, ", "))
	if k.RootBytes > 0 {
		line("Root disk\t%s, %s in use with the kernel", bytesize.Format(k.RootBytes), bytesize.Format(k.Bytes))
	} else {
		line("Root disk\tnone")
	}
	line("\nRequirement\tMet")
	for _, n := range k.Needs {
		line("%s\t%s\t%s", n.What, n.state(), n.Hint)
	}
}

// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/lkl-nomad/nomad-driver-lkl/image"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/bytesize"
)

const imageListUsage = `usage: PROGRAM image list [--json] [--state-dir DIR]

Lists the images in the driver's cache, the last used first: a line for each reference,
and one for an image without a reference, with the name of its last use in parentheses.
Such images came from files, or their tags have moved. SIZE is the space on the host's
disk, and TASKS the number of tasks that use the image now.

Options:

  --json                    print a JSON array with all properties
` + stateDirUsage

func imageListCommand(e *Env, args []string) int {
	var store storeFlags
	flags := newFlags()
	store.define(flags)
	asJSON := flags.Bool("json", false, "")
	operands, status, done := e.parse(flags, args)
	if done {
		return status
	}
	if len(operands) > 0 {
		return e.usageError(fmt.Errorf("unexpected argument %q", operands[0]))
	}
	return store.withStore(e, func(s *image.Store) int {
		images, err := s.List()
		if err != nil {
			return e.failImage(err)
		}
		write := writeImages
		if *asJSON {
			images = append([]image.Image{}, images...) // [] instead of null
			write = func(e *Env, images []image.Image) error { return writeJSON(e.Stdout, images) }
		}
		if err := write(e, images); err != nil {
			return e.fail(exitUnwritten, err)
		}
		return exitOK
	})
}

func writeImages(e *Env, images []image.Image) error {
	now := time.Now()
	return writeTable(e.Stdout, func(line func(string, ...any)) {
		line("REFERENCE\tDIGEST\tSIZE\tLAST USED\tTASKS")
		for _, i := range images {
			for _, reference := range namesOf(i.References, i.LastName, "-") {
				line("%s\t%s\t%s\t%s ago\t%s", printable(reference), shortDigest(i.Digest), bytesize.Format(i.Bytes),
					formatAge(now.Sub(i.LastUsed)), tasksOf(&i))
			}
		}
	})
}

// namesOf returns the references of an image, or in parentheses the name of its last use, or
// another name if neither is known.
func namesOf(references []string, lastName, other string) []string {
	switch {
	case len(references) > 0:
		return references
	case lastName != "":
		return []string{"(" + lastName + ")"}
	}
	return []string{other}
}

// shortDigest returns the digits that people compare.
func shortDigest(digest string) string {
	const shortLength = 12
	digits := strings.TrimPrefix(digest, "sha256:")
	return digits[:min(len(digits), shortLength)]
}

// tasksOf returns the number of tasks that use an image, "starting" if a task is about
// to use it, or "-".
func tasksOf(i *image.Image) string {
	tasks, starting := 0, false
	for _, k := range i.Kernels {
		tasks += k.Tasks
		starting = starting || k.Starting
	}
	switch {
	case tasks > 0:
		return fmt.Sprint(tasks)
	case starting:
		return "starting"
	}
	return "-"
}

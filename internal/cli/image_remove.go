// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/lkl-nomad/nomad-driver-lkl/image"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/bytesize"
)

const imageRemoveUsage = `usage: PROGRAM image remove [--state-dir DIR] IMAGE ...

Removes images from the driver's cache. IMAGE is a reference or a digest, or the first
digits of one. If an image has several references, removing one keeps the image. An
image that a task uses is not removed.

Options:

` + stateDirUsage + `
Exit status:
  0  all images are removed
  1  an image is not in the cache, or a task uses it
  2  the command line is not valid
`

func imageRemoveCommand(e *Env, args []string) int {
	var store storeFlags
	flags := newFlags()
	store.define(flags)
	operands, status, done := e.parse(flags, args)
	if done {
		return status
	}
	if len(operands) == 0 {
		return e.usageError(errors.New("an image is required"))
	}
	ctx, stop := interruptible()
	defer stop()
	return store.withStore(e, func(s *image.Store) int {
		status := exitOK
		for _, name := range operands {
			status = cmp.Or(status, e.remove(ctx, s, name))
		}
		return status
	})
}

func (e *Env) remove(ctx context.Context, s *image.Store, name string) int {
	removed, err := s.Remove(ctx, name)
	if err != nil {
		return e.failImage(err)
	}
	if removed.Bytes == 0 {
		return e.print(fmt.Sprintf("%s: removed the reference: %s\n", printable(name), removed.Reason))
	}
	return e.print(fmt.Sprintf("%s: removed %s, %s freed\n", printable(name), removed.Digest, bytesize.Format(removed.Bytes)))
}

const imageGCUsage = `usage: PROGRAM image gc [OPTION ...]

Removes images that no task uses from the driver's cache, and the remains of pulls that
were killed. Without --all, --max-age and --max-size, it removes only such remains. The
driver removes images too: see the block image_gc of its configuration.

Options:

  --max-age DURATION        remove images that were last used longer ago, such as 72h
  --max-size SIZE           remove the images that were used least recently until the
                            others take at most this space, such as 10GiB
  --all                     remove all images that no task uses
  --dry-run                 only print the images that would be removed
  --json                    print a JSON object
` + stateDirUsage + `
Exit status:
  0  success, also if there was nothing to remove
  1  the cache cannot be read, or an image could not be removed
  2  the command line is not valid
  4  the output could not be written
`

// gcFlags are the options of "image gc".
type gcFlags struct {
	store   storeFlags
	maxAge  time.Duration
	maxSize string
	all     bool
	dryRun  bool
	json    bool
}

// options returns the options for the store. It finds those that are not valid.
func (g *gcFlags) options() (image.GCOptions, error) {
	o := image.GCOptions{MaxAge: g.maxAge, All: g.all, DryRun: g.dryRun}
	if g.maxAge < 0 {
		return o, fmt.Errorf("--max-age %s: must be positive", g.maxAge)
	}
	if g.maxSize == "" {
		return o, nil
	}
	var err error
	if o.MaxBytes, err = bytesize.Parse(g.maxSize); err != nil {
		if strings.Trim(g.maxSize, "0KMGiB ") == "" {
			return o, fmt.Errorf("--max-size %s: must be larger than 0: use --all to remove all images that no task uses", g.maxSize)
		}
		return o, fmt.Errorf("--max-size: %w", err)
	}
	return o, nil
}

func imageGCCommand(e *Env, args []string) int {
	var g gcFlags
	flags := newFlags()
	g.store.define(flags)
	flags.Func("max-age", "", duration(&g.maxAge))
	flags.StringVar(&g.maxSize, "max-size", "", "")
	flags.BoolVar(&g.all, "all", false, "")
	flags.BoolVar(&g.dryRun, "dry-run", false, "")
	flags.BoolVar(&g.json, "json", false, "")
	operands, status, done := e.parse(flags, args)
	if done {
		return status
	}
	if len(operands) > 0 {
		return e.usageError(fmt.Errorf("unexpected argument %q: \"image remove\" removes single images", operands[0]))
	}
	o, err := g.options()
	if err != nil {
		return e.usageError(err)
	}
	ctx, stop := interruptible()
	defer stop()
	return g.store.withStore(e, func(s *image.Store) int {
		report, err := s.GC(ctx, o)
		if err != nil {
			return e.failImage(err)
		}
		if err := g.write(e, report); err != nil {
			return e.fail(exitUnwritten, err)
		}
		return exitOK
	})
}

func (g *gcFlags) write(e *Env, r image.GCReport) error {
	if g.json {
		r.Removed = append([]image.Removal{}, r.Removed...) // [] instead of null
		return writeJSON(e.Stdout, r)
	}
	removed, freed := "removed", "freed"
	if g.dryRun {
		removed, freed = "would remove", "would be freed"
	}
	return writeTable(e.Stdout, func(line func(string, ...any)) {
		for _, i := range r.Removed {
			name := namesOf(i.References, i.LastName, i.Digest)[0]
			line("%s\t%s\t%s\t%s", removed, printable(name), bytesize.Format(i.Bytes), printable(i.Reason))
		}
		line("%s %s, %s kept, %s of that in use", bytesize.Format(r.FreedBytes), freed, bytesize.Format(r.KeptBytes), bytesize.Format(r.UsedBytes))
	})
}

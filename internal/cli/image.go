// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/lkl-nomad/nomad-driver-lkl/disk"
	"github.com/lkl-nomad/nomad-driver-lkl/image"
	"github.com/lkl-nomad/nomad-driver-lkl/image/reference"
	"github.com/lkl-nomad/nomad-driver-lkl/image/registry"
	"github.com/lkl-nomad/nomad-driver-lkl/image/source"
	"github.com/lkl-nomad/nomad-driver-lkl/image/spec"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/safeopen"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/statedir"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
)

// imageCommands returns the group "image".
func imageCommands() []*Command {
	return []*Command{
		{Name: "pull", Summary: "bring images into the driver's cache", Usage: imagePullUsage, Run: imagePullCommand},
		{Name: "list", Summary: "list the images in the cache", Usage: imageListUsage, Run: imageListCommand},
		{Name: "inspect", Summary: "print the configuration and the unikernels of an image", Usage: imageInspectUsage, Run: imageInspectCommand},
		{Name: "remove", Summary: "remove images from the cache", Usage: imageRemoveUsage, Run: imageRemoveCommand},
		{Name: "gc", Summary: "remove images that no task uses", Usage: imageGCUsage, Run: imageGCCommand},
		{Name: "build", Summary: "pack a unikernel into an image", Usage: imageBuildUsage, Run: imageBuildCommand},
		{Name: "sbom", Summary: "print the list of the software in an image", Usage: imageSBOMUsage, Run: imageSBOMCommand},
	}
}

// stateDirUsage describes the option of storeFlags.
const stateDirUsage = `  --state-dir DIR           the driver's state_dir (default ` + statedir.Default + `)
`

// storeFlags are the options that say which store a command uses.
type storeFlags struct{ stateDir string }

func (s *storeFlags) define(flags *flag.FlagSet) {
	flags.StringVar(&s.stateDir, "state-dir", statedir.Default, "")
}

// open opens the store of the driver. Commands that bring in images pass a client, and
// create the state directory.
func (s *storeFlags) open(client *registry.Client) (*image.Store, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("only root can use the driver's images: run the command as root, such as with sudo")
	}
	check := statedir.Create
	if client == nil {
		check = checkStateDir
	}
	dir, err := filepath.Abs(s.stateDir)
	if err == nil {
		err = check(dir)
	}
	if err != nil {
		return nil, fmt.Errorf("--state-dir %s: %w", s.stateDir, err)
	}
	return image.Open(image.Config{Dir: filepath.Join(dir, "images"), Client: client})
}

// checkStateDir checks an existing state directory.
func checkStateDir(dir string) error {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return errors.New("the directory does not exist: name the driver's state_dir")
	}
	return statedir.Check(dir)
}

// withStore opens an existing store, calls f and returns its exit status.
func (s *storeFlags) withStore(e *Env, f func(*image.Store) int) int {
	store, err := s.open(nil)
	if err != nil {
		return e.fail(exitFailed, err)
	}
	status := f(store)
	if err := store.Close(); err != nil {
		return e.fail(exitFailed, err)
	}
	return status
}

// An interrupt is the error of a context that a signal has ended.
type interrupt struct{ syscall.Signal }

func (i interrupt) Error() string { return "ended by the signal " + i.String() }

// interruptible returns a context that ends with the first signal that asks the program
// to end, so that the command can clean up. The second such signal ends the program.
func interruptible() (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals, ignored := make(chan os.Signal, 1), make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	// Without this, the program would end at once when the reader of its stderr has gone.
	// The signal must not end the context: sockets of registries cause it, too.
	signal.Notify(ignored, syscall.SIGPIPE)
	go func() {
		select {
		case s := <-signals:
			signal.Stop(signals)
			if s, ok := s.(syscall.Signal); ok {
				cancel(interrupt{s})
			}
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		signal.Stop(ignored)
		cancel(nil)
	}
}

// failImage prints an error of the package image with advice, and returns the exit
// status.
func (e *Env) failImage(err error) int {
	if i := (interrupt{}); errors.As(err, &i) {
		const signaled = 128
		return e.fail(signaled+int(i.Signal), i)
	}
	status := exitFailed
	if isRefused(err) {
		status = exitRefused
	}
	e.fail(status, err)
	if advice := e.imageAdvice(err); advice != "" {
		e.fail(status, errors.New(advice))
	}
	return status
}

// isRefused reports whether an image cannot run with this driver, now or later.
func isRefused(err error) bool {
	for _, kind := range []error{
		source.ErrInvalid, spec.ErrPlatform, spec.ErrTarget, spec.ErrNotImage, spec.ErrNoKernel,
		unikernel.ErrNotSolo5, unikernel.ErrMachine, unikernel.ErrTarget, unikernel.ErrABI, unikernel.ErrManifest, unikernel.ErrInvalid,
	} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}

// imageAdvice returns the remedy for an error that only a user of the commands has.
// The errors themselves contain those that a job's author has too.
func (e *Env) imageAdvice(err error) string {
	switch {
	case errors.Is(err, image.ErrNoImage):
		return fmt.Sprintf("\"%s image list\" lists the images in the cache", e.Program.Name)
	case errors.Is(err, disk.ErrReserve), errors.Is(err, syscall.ENOSPC):
		return fmt.Sprintf("free space on the file system of --state-dir, such as with \"%s image gc --all\"", e.Program.Name)
	}
	return ""
}

// openReference opens the file of a local reference. It returns nil for an image in a
// registry. The command line names the file, so all symbolic links may be followed.
func openReference(ref reference.Reference) (*os.File, error) {
	if !ref.IsLocal() {
		return nil, nil
	}
	types := safeopen.Regular
	if ref.Transport() == reference.OCILayout {
		types = safeopen.Directory
	}
	f, err := safeopen.Open(ref.Path(), os.O_RDONLY, types)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("image %s: %w", ref, err)
	}
	return f, err
}

// parseReferences parses all operands.
func parseReferences(operands []string) ([]reference.Reference, error) {
	if len(operands) == 0 {
		return nil, errors.New("an image is required")
	}
	references := make([]reference.Reference, len(operands))
	for i, operand := range operands {
		var err error
		if references[i], err = reference.Parse(operand); err != nil {
			return nil, err
		}
	}
	return references, nil
}

// SPDX-License-Identifier: MPL-2.0

// Package e2fsprogs runs the tools of e2fsprogs on images: mke2fs, debugfs, e2fsck and
// resize2fs. Each tool is started by Cmd.start, in a sandbox.
package e2fsprogs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/lkl-nomad/nomad-driver-lkl/disk/internal/sandbox"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/memfd"
)

// The tools.
const (
	Mke2fs    = "mke2fs"
	Debugfs   = "debugfs"
	Resize2fs = "resize2fs"
	E2fsck    = "e2fsck"
)

var toolNames = []string{Mke2fs, Debugfs, Resize2fs, E2fsck}

// ImagePath is the path at which a tool finds its image.
const ImagePath = sandbox.ImagePath

// FilePath returns the path at which a tool finds an element of Cmd.Files.
func FilePath(index int) string { return sandbox.FilePath(index) }

// MaxOutput limits the part of a tool's output in an error message, in bytes.
const MaxOutput = 4096

// emptyFile is the standard input of a tool that is not interactive.
const emptyFile = "/proc/self/fd/0"

// waitDelay limits the wait for the output of a stopped tool.
const waitDelay = 5 * time.Second

// CheckInstalled returns an error that names the missing tools and their package.
func CheckInstalled() error {
	var missing []string
	for _, name := range toolNames {
		if _, err := findTool(name); err != nil {
			missing = append(missing, name)
		}
	}
	if missing == nil {
		return nil
	}
	return fmt.Errorf("not found: %s; install the package e2fsprogs", strings.Join(missing, ", "))
}

// findTool searches PATH and the directories for system tools, which the PATH of an
// ordinary user on Debian does not contain.
func findTool(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil {
		return filepath.Abs(path)
	}
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s: %w; install the package e2fsprogs", name, err)
}

// Cmd is one run of a tool. Its fields must not change once the tool has started.
type Cmd struct {
	// Env is added to the tool's environment, which is not that of this process.
	Env []string
	// Files are files that the tool may read, at FilePath. The tool reopens them, so
	// every user must have permission to read them. Their content may change while the
	// tool runs.
	Files []*os.File
	// FileCount is the number of files that the tool will create in the image. The
	// tool's processor time is limited, and each file adds to it.
	FileCount int64

	ctx     context.Context
	name    string
	exec    *exec.Cmd
	image   *os.File
	sandbox Sandbox
	process *sandbox.Process // nil until the start
}

// Command prepares a run of a tool on an image, which it finds at ImagePath. The tool is
// killed when the context ends.
func Command(ctx context.Context, s Sandbox, tool string, image *os.File, args ...string) (*Cmd, error) {
	path, err := findTool(tool)
	if err != nil {
		return nil, err
	}
	c := &Cmd{
		ctx: ctx, name: tool, exec: exec.CommandContext(ctx, path, args...),
		image: image, sandbox: s,
	}
	c.exec.Env = []string{
		"LC_ALL=C", "TZ=UTC", "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
		"MKE2FS_CONFIG=" + emptyFile, "E2FSCK_CONFIG=" + emptyFile,
		// The mount table may be missing in the sandbox.
		"EXT2FS_NO_MTAB_OK=1",
		// Further arenas reserve address space, which is limited.
		"MALLOC_ARENA_MAX=1",
	}
	c.exec.WaitDelay = waitDelay
	return c, nil
}

// Run runs the tool to its end. An error contains the beginning of its output; ExitCode
// returns its exit status.
func (c *Cmd) Run() error {
	empty, err := memfd.New("empty", nil)
	if err != nil {
		return err
	}
	defer empty.Close()
	out := &prefixWriter{limit: MaxOutput}
	c.exec.Stdin, c.exec.Stdout, c.exec.Stderr = empty, out, out
	if err = c.start(); err == nil {
		err = c.Wait()
	}
	return c.DescribeError(err, string(out.kept))
}

// StartInteractive starts the tool and returns its standard input, and a pipe that
// carries both its output and its error messages. The caller closes them and calls Wait.
func (c *Cmd) StartInteractive() (in io.WriteCloser, out *os.File, err error) {
	out, w, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	defer w.Close()
	c.exec.Stdout, c.exec.Stderr = w, w
	if in, err = c.exec.StdinPipe(); err == nil {
		err = c.start()
	}
	if err != nil {
		out.Close()
		return nil, nil, c.DescribeError(fmt.Errorf("start: %w", err), "")
	}
	return in, out, nil
}

func (c *Cmd) start() error {
	info, err := c.image.Stat()
	if err != nil {
		return err
	}
	c.exec.Env = append(c.exec.Env, c.Env...)
	c.process, err = sandbox.Start(c.exec, sandbox.Options{
		Image: c.image, Files: c.Files, MountTable: c.name != Debugfs, Limits: limitsFor(info.Size(), c.FileCount), Cgroup: c.sandbox.Cgroup,
	})
	return err
}

// Wait waits for a tool that StartInteractive has started. Further calls return the same
// error.
func (c *Cmd) Wait() error { return c.process.Wait() }

// Kill kills a tool that StartInteractive has started. The caller still calls Wait.
func (c *Cmd) Kill() { c.process.Kill() }

// noDevices is the message of e2fsck about the absence of devices in the sandbox. e2fsck works
// without them.
const noDevices = "ERROR: Couldn't open /dev/null (Permission denied)\n"

// DescribeError turns the error of a tool's run into one that contains the tool's output,
// or the cause for which the context ended. It returns nil for nil.
func (c *Cmd) DescribeError(err error, output string) error {
	if err == nil {
		return nil
	}
	if c.ctx.Err() != nil {
		return fmt.Errorf("%s stopped: %w", c.name, context.Cause(c.ctx))
	}
	output = strings.TrimSpace(strings.TrimPrefix(strings.ToValidUTF8(output, "?"), noDevices))
	if cause := FindSpaceError(output); cause != nil {
		err = cause
	}
	if cause := findLimitError(err, output); cause != nil {
		err = cause
	}
	if c.failedByImage(err) {
		err = fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return fmt.Errorf("%s: %w: %s", c.name, err, output)
}

// failedByImage reports whether a tool that parses an image failed or crashed, for no other
// reason that this package knows.
func (c *Cmd) failedByImage(err error) bool {
	_, ended := errors.AsType[*exec.ExitError](err)
	return ended && c.name != Mke2fs && !errors.Is(err, ErrDamaged) && !errors.Is(err, sandbox.ErrMemory)
}

// DescribeEnd ends an interactive tool whose output has ended before its input, and returns
// the error for that. It wraps ErrDamaged unless the image is not the reason.
func (c *Cmd) DescribeEnd(output string) error {
	c.Kill() // has no effect on a tool that is about to exit
	err := c.Wait()
	if err == nil {
		err = io.ErrUnexpectedEOF
	}
	blameImage := c.ctx.Err() == nil && !errors.Is(err, sandbox.ErrMemory)
	if err = c.DescribeError(err, output); blameImage && !errors.Is(err, ErrDamaged) {
		err = fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return err
}

// ExitCode returns the exit status in an error of Run, or -1 if the tool did not exit.
func ExitCode(err error) int {
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode()
	}
	return -1
}

// prefixWriter keeps the first bytes that are written to it and drops the others.
type prefixWriter struct {
	kept  []byte
	limit int
}

func (w *prefixWriter) Write(p []byte) (int, error) {
	w.kept = append(w.kept, p[:min(len(p), w.limit-len(w.kept))]...)
	return len(p), nil
}

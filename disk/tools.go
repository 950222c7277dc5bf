// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	mke2fs    = "mke2fs"
	debugfs   = "debugfs"
	resize2fs = "resize2fs"
	e2fsck    = "e2fsck"
)

// Where a tool finds the image: as a descriptor, so that neither the path's
// characters ('?' begins options of e2fsprogs) nor what is at the path later matter.
// The second is a directory, which the dot makes of the link that a descriptor is.
const (
	imagePath  = "/proc/self/fd/3"
	secondPath = "/proc/self/fd/4/."
)

// How much of a tool's output is kept for an error message, in bytes.
const keptOutput = 4096

// Tools says which of the programs that this package needs are missing, and
// what to do about it; nil: none.
func Tools() error {
	var missing []string
	for _, name := range []string{mke2fs, debugfs, resize2fs, e2fsck} {
		if _, err := findTool(name); err != nil {
			missing = append(missing, name)
		}
	}
	if missing == nil {
		return nil
	}
	return fmt.Errorf("not found: %s; install the package e2fsprogs", strings.Join(missing, ", "))
}

// findTool also looks where Debian has the tools when PATH is an ordinary user's.
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

// newTool prepares a run of one of the tools on an image, which it finds at
// imagePath. Its environment holds nothing of ours.
func newTool(ctx context.Context, name string, image *os.File, args ...string) (*exec.Cmd, error) {
	path, err := findTool(name)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = []string{
		"LC_ALL=C", "TZ=UTC", "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
		"MKE2FS_CONFIG=/dev/null", "E2FSCK_CONFIG=/dev/null",
	}
	cmd.Dir = "/"
	cmd.ExtraFiles = []*os.File{image}
	cmd.WaitDelay = 5 * time.Second
	return cmd, nil
}

// runTool runs a tool to its end. An error holds the beginning of its output.
func runTool(ctx context.Context, cmd *exec.Cmd) error { return runToolBy(ctx, cmd, start) }

// runToolBy does so with a start of its own.
func runToolBy(ctx context.Context, cmd *exec.Cmd, start func(*exec.Cmd) error) error {
	out := &head{limit: keptOutput}
	cmd.Stdout, cmd.Stderr = out, out
	err := start(cmd)
	if err == nil {
		err = cmd.Wait()
	}
	return toolError(ctx, filepath.Base(cmd.Path), err, string(out.kept))
}

// toolError makes a tool's end an error: why the context ended, or what it said.
func toolError(ctx context.Context, name string, err error, said string) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%s stopped: %w", name, context.Cause(ctx))
	}
	said = strings.TrimSpace(strings.ToValidUTF8(said, "?"))
	if cause := spaceError(said); cause != nil {
		err = cause
	}
	return fmt.Errorf("%s: %w: %s", name, err, said)
}

// exitCode is the exit status in an error of runTool, -1 if it has none.
func exitCode(err error) int {
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode()
	}
	return -1
}

// spaceError is what a tool's output says about a lack of space: ENOSPC or EDQUOT
// if the host's file system, in which the image lies, has none left, ErrNoSpace if
// the image has none, nil if it says nothing of the kind.
func spaceError(said string) error {
	for _, message := range []struct {
		text string
		err  error
	}{
		// Of the C library, for a write that the host refused. The image's own
		// lack of space never has these words.
		{"No space left on device", syscall.ENOSPC},
		{"Disk quota exceeded", syscall.EDQUOT},
		// Of e2fsprogs, lib/ext2fs/ext2_err.et.
		{"Could not allocate block in ext2 filesystem", ErrNoSpace},
		{"Could not allocate inode in ext2 filesystem", ErrNoSpace},
	} {
		if strings.Contains(said, message.text) {
			return message.err
		}
	}
	return nil
}

// head keeps the first bytes that are written to it and drops the others.
type head struct {
	kept  []byte
	limit int
}

func (h *head) Write(p []byte) (int, error) {
	h.kept = append(h.kept, p[:min(len(p), h.limit-len(h.kept))]...)
	return len(p), nil
}

// SPDX-License-Identifier: MPL-2.0

//go:build linux && amd64

package sandbox

import (
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/landlock"
)

// libraryPaths are the files that a dynamically linked program reads before it starts.
var libraryPaths = []string{
	"/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache", "/etc/ld.so.preload",
}

// openRuleset returns a ruleset of Landlock that denies everything except reading the
// libraries and the files of o, writing the image, and executing the executables. It
// returns landlock.ErrUnsupported if the kernel has no Landlock.
func openRuleset(executables []string, o Options) (*os.File, error) {
	const read = unix.LANDLOCK_ACCESS_FS_READ_FILE
	rules := []landlock.Rule{{FD: int(o.Image.Fd()), Access: read | unix.LANDLOCK_ACCESS_FS_WRITE_FILE}}
	for _, f := range o.Files {
		rules = append(rules, landlock.Rule{FD: int(f.Fd()), Access: read})
	}
	for _, paths := range []struct {
		list   []string
		access uint64
	}{{libraryPaths, read}, {executables, read | unix.LANDLOCK_ACCESS_FS_EXECUTE}} {
		for _, path := range paths.list {
			fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
			if errors.Is(err, unix.ENOENT) {
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("open %s: %w", path, err)
			}
			defer unix.Close(fd)
			rules = append(rules, landlock.Rule{FD: fd, Access: paths.access})
		}
	}
	fd, err := landlock.Ruleset{Rules: rules}.Open()
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "landlock"), nil
}

// interpreterOf returns the path of the dynamic linker that loads a program, and nothing for
// a statically linked program.
func interpreterOf(program string) ([]string, error) {
	f, err := elf.Open(program)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", program, err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		path, err := io.ReadAll(p.Open())
		if err != nil {
			return nil, fmt.Errorf("%s: %w", program, err)
		}
		return []string{strings.TrimRight(string(path), "\x00")}, nil
	}
	return nil, nil
}

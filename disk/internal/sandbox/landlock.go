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
	libraries, err := rulesFor(libraryPaths, read)
	defer closeRules(libraries)
	if err != nil {
		return nil, err
	}
	programs, err := rulesFor(executables, read|unix.LANDLOCK_ACCESS_FS_EXECUTE)
	defer closeRules(programs)
	if err != nil {
		return nil, err
	}
	rules = append(append(rules, libraries...), programs...)
	fd, err := landlock.Ruleset{Rules: rules}.Open()
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "landlock"), nil
}

// rulesFor returns rules that allow access to the files that exist. The caller closes them,
// also after an error.
func rulesFor(paths []string, access uint64) (rules []landlock.Rule, _ error) {
	for _, path := range paths {
		fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return rules, fmt.Errorf("open %s: %w", path, err)
		}
		rules = append(rules, landlock.Rule{FD: fd, Access: access})
	}
	return rules, nil
}

func closeRules(rules []landlock.Rule) {
	for _, rule := range rules {
		_ = unix.Close(rule.FD) // an O_PATH descriptor
	}
}

// interpreterOf returns the path of the dynamic linker that loads a program, and nothing for
// a statically linked program.
func interpreterOf(program string) ([]string, error) {
	f, err := elf.Open(program)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", program, err)
	}
	defer func() { _ = f.Close() }() // only read
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

// SPDX-License-Identifier: MPL-2.0

// Package bundle embeds the programs of a task in the plugin, so that a plugin directory
// contains a single file.
package bundle

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/atomicfile"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/memfd"
)

// programs contains the executor and the file server. "make build" builds them and copies
// them into this package. Without them the compiler stops here, and its message names the
// directory:
//
//	pattern run-make-build/lkl-executor: no matching files found
//
// The plugin cannot be its own executor instead: its packages alone use 18 MiB of
// private memory, and an executor is budgeted at 4 MiB.
//
//go:embed run-make-build/lkl-executor run-make-build/lkl-files
var programs embed.FS

// Install installs a program, executor.Program or files.Program, as
// STATEDIR/bin/SHA256/NAME, and returns that path. It keeps an identical file. Programs of
// other versions are in directories of other names; the driver removes them when nothing
// uses them.
func Install(stateDir, name string) (string, error) {
	program, err := read(name)
	if err != nil {
		return "", err
	}
	return install(stateDir, name, program)
}

func read(name string) ([]byte, error) {
	program, err := programs.ReadFile("run-make-build/" + name)
	if err != nil {
		return nil, fmt.Errorf("find %s in the plugin: %w", name, err)
	}
	return program, nil
}

// Open returns a program as a file in memory.
func Open(name string) (*os.File, error) {
	program, err := read(name)
	if err != nil {
		return nil, err
	}
	return memfd.NewExecutable(name, program)
}

func install(stateDir, name string, program []byte) (string, error) {
	sum := sha256.Sum256(program)
	dir := filepath.Join(stateDir, "bin", hex.EncodeToString(sum[:]))
	path := filepath.Join(dir, name)
	if isInstalled(path, sum) {
		return path, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("install %s: %w", name, err)
	}
	if err := atomicfile.Write(path, program, 0o755); err != nil {
		return "", fmt.Errorf("install %s: %w", name, err)
	}
	return path, nil
}

// isInstalled reports whether path is an executable regular file with the digest.
func isInstalled(path string, sum [sha256.Size]byte) bool {
	info, err := os.Lstat(path)
	if err != nil || !info.Mode().IsRegular() || info.Mode().Perm() != 0o755 {
		return false
	}
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return false
	}
	return bytes.Equal(h.Sum(nil), sum[:])
}

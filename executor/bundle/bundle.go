// SPDX-License-Identifier: MPL-2.0

// Package bundle carries the executor's program inside the plugin's, so that a
// plugin directory holds one file.
package bundle

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/atomicfile"
)

// Name is the executor's file name, here and where it is installed.
const Name = "lkl-executor"

//go:embed all:bin
var files embed.FS

// ErrAbsent says that the plugin was built without the executor.
var ErrAbsent = errors.New("this build carries no executor: build with make build")

// Install puts the executor into STATEDIR/bin/SHA256/lkl-executor, unless the
// very same is there already, and returns that path. Executors of other
// versions beside it are left alone: they may be running.
func Install(stateDir string) (string, error) {
	program, err := files.ReadFile("bin/" + Name)
	if errors.Is(err, fs.ErrNotExist) {
		return "", ErrAbsent
	}
	if err != nil {
		return "", fmt.Errorf("read the carried executor: %w", err)
	}
	return install(stateDir, program)
}

func install(stateDir string, program []byte) (string, error) {
	sum := sha256.Sum256(program)
	dir := filepath.Join(stateDir, "bin", hex.EncodeToString(sum[:]))
	path := filepath.Join(dir, Name)
	if same(path, sum) {
		return path, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("install the executor: %w", err)
	}
	if err := atomicfile.Write(path, program, 0o755); err != nil {
		return "", fmt.Errorf("install the executor as %s: %w", path, err)
	}
	return path, nil
}

// same tells whether an executable regular file has the digest.
func same(path string, sum [sha256.Size]byte) bool {
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

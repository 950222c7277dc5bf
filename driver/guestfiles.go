// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"context"
	"crypto/rand"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/lkl-nomad/nomad-driver-lkl/disk"
)

// A guest seeds its random number generator from this file. A Solo5 guest has no
// other source of entropy.
const (
	seedPath = "/etc/random-seed"
	seedSize = 512 // bytes: the size of Linux's entropy pool
)

// guestFiles returns the files about the guest that the driver adds to the root disk of an LKL
// guest.
func guestFiles(j job, a addresses, resolver guestResolver) ([]disk.File, error) {
	hosts, err := j.etcHosts(a)
	if err != nil {
		return nil, err
	}
	seed := make([]byte, seedSize)
	if _, err := rand.Read(seed); err != nil {
		return nil, fmt.Errorf("create the random seed: %w", err)
	}
	return []disk.File{
		{Path: "/etc/hostname", Mode: 0o644, Content: []byte(j.hostname() + "\n")},
		{Path: "/etc/hosts", Mode: 0o644, Content: []byte(hosts)},
		{Path: "/etc/resolv.conf", Mode: 0o644, Content: []byte(resolver.String())},
		{Path: seedPath, Mode: 0o600, Content: seed},
	}, nil
}

// taskFiles returns the current content of the task's directories, for guests without live
// directories: local/, secrets/, and alloc/ without its logs. It leaves out the given files,
// from which the disk is made. The files belong to the program's user.
func taskFiles(ctx context.Context, j job, exclude []*jobFile) ([]disk.File, error) {
	dir := j.task.TaskDir()
	var files []disk.File
	for _, tree := range []struct{ root, name, guest string }{
		{dir.LocalDir, ".", "/local"},
		{dir.SecretsDir, ".", "/secrets"},
		// These are opened below the shared directory, because another task of the
		// alloc may have replaced them by symbolic links.
		{dir.SharedAllocDir, "data", "/alloc"},
		{dir.SharedAllocDir, "tmp", "/alloc"},
	} {
		host := filepath.Join(tree.root, tree.name)
		if _, err := os.Lstat(host); err != nil {
			continue // only in tests: Nomad creates all of them
		}
		if isAnyOf(host, exclude) {
			files = append(files, disk.File{Path: path.Join(tree.guest, tree.name), Mode: fs.ModeDir | 0o755})
			continue
		}
		found, err := disk.Tree(ctx, tree.root, tree.name, tree.guest, func(name string) bool {
			return isAnyOf(filepath.Join(tree.root, name), exclude)
		})
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", host, err)
		}
		files = append(files, found...)
	}
	setOwner(files, j.program.user)
	return files, nil
}

// setOwner gives files to the program's user. Files in /secrets become accessible
// to that user only, who always can read them.
func setOwner(files []disk.File, user owner) {
	for i := range files {
		files[i].UID, files[i].GID = int(user.uid), int(user.gid)
		if files[i].Path == "/secrets" || strings.HasPrefix(files[i].Path, "/secrets/") {
			files[i].Mode = ownerOnly(files[i].Mode)
		}
	}
}

func ownerOnly(mode fs.FileMode) fs.FileMode {
	switch {
	case mode.IsDir():
		return fs.ModeDir | 0o700
	case mode.IsRegular():
		return mode&0o700 | 0o400
	}
	return mode
}

// isAnyOf reports whether a path leads to one of the open files.
func isAnyOf(path string, files []*jobFile) bool {
	info, err := os.Lstat(path)
	if err != nil {
		return false
	}
	for _, f := range files {
		if f != nil && os.SameFile(info, f.info) {
			return true
		}
	}
	return false
}

// SPDX-License-Identifier: MPL-2.0

// Package disk builds, fills, copies and grows the ext4 images that guests use as root
// disks. It works on plain files with the tools of e2fsprogs and needs no mount, no loop
// device and no root.
//
// Images of other origin are untrusted. This package reads only their superblocks and
// group descriptors. The tools parse everything else, in separate processes in a sandbox,
// with a clean environment and bounded output, until the context ends.
package disk

import (
	"context"
	"errors"

	"github.com/lkl-nomad/nomad-driver-lkl/disk/internal/debugfs"
	"github.com/lkl-nomad/nomad-driver-lkl/disk/internal/e2fsprogs"
)

var (
	// ErrKind means that no root disk can be made from the file at a path.
	ErrKind = errors.New("neither a directory, a tar archive (plain, gzip or zstd) nor an ext4 image")
	// ErrArchive means that a tar archive contains an entry that an image cannot or
	// must not contain.
	ErrArchive = errors.New("tar archive refused")
	// ErrNoSpace means that the content does not fit in the image. If the file system
	// of the host is full, the error is syscall.ENOSPC or syscall.EDQUOT instead.
	ErrNoSpace = e2fsprogs.ErrNoSpace
	// ErrName means that a path or a symlink target cannot be passed to debugfs.
	ErrName = debugfs.ErrName
	// ErrDamaged means that an image is not a valid ext4 file system.
	ErrDamaged = debugfs.ErrDamaged
	// ErrFeature means that an image has a feature that the disk of a guest must not have. The
	// error names the feature and the remedy.
	ErrFeature = errors.New("not supported in a disk of a guest")

	errNotDirectory = debugfs.ErrNotDirectory
)

// A Sandbox contains the settings of the tools' confinement that depend on the task.
type Sandbox = e2fsprogs.Sandbox

// BlockSize is the block size of the images made here, in bytes. Blocks of 4096 bytes
// mount on disks with sectors of 512 and of 4096 bytes. Blocks of 1024 bytes, the default
// of mke2fs for small images, do not mount with sectors of 4096 bytes.
const BlockSize = 4096

// A Tool is an installed program of e2fsprogs.
type Tool = e2fsprogs.Tool

// Tools returns the tools of e2fsprogs with their versions. It runs each of them.
func Tools(ctx context.Context) []Tool { return e2fsprogs.Tools(ctx) }

// CheckTools returns an error that names the missing tools of e2fsprogs.
func CheckTools() error { return e2fsprogs.CheckInstalled() }

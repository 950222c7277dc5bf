// SPDX-License-Identifier: MPL-2.0

package server

import (
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/files/fuse"
)

// subject is the kind of node that an operation needs.
type subject uint8

const (
	onConnection subject = iota // none, or found by the operation itself
	onNode                      // any node
	onFile                      // a file of the host
)

// An operation serves the requests of an opcode.
type operation struct {
	run     func(*worker) unix.Errno
	on      subject
	silent  bool // the guest does not expect an answer
	slow    bool // other requests must not wait
	changes bool // needs a share that is not read-only
}

var unknown = operation{run: func(*worker) unix.Errno { return unix.ENOSYS }}

// operations has an element per opcode.
var operations = [...]operation{
	fuse.Lookup:        {run: (*worker).lookup, on: onNode},
	fuse.Forget:        {run: (*worker).forget, silent: true},
	fuse.Getattr:       {run: (*worker).getattr, on: onNode},
	fuse.Setattr:       {run: (*worker).setattr, on: onFile, changes: true},
	fuse.Readlink:      {run: (*worker).readlink, on: onFile},
	fuse.Symlink:       {run: (*worker).symlink, on: onFile, changes: true},
	fuse.Mknod:         {run: (*worker).mknod, on: onFile, changes: true},
	fuse.Mkdir:         {run: (*worker).mkdir, on: onFile, changes: true},
	fuse.Unlink:        {run: (*worker).unlink, on: onFile, changes: true},
	fuse.Rmdir:         {run: (*worker).rmdir, on: onFile, changes: true},
	fuse.Rename:        {run: (*worker).rename, on: onFile, changes: true},
	fuse.Rename2:       {run: (*worker).rename2, on: onFile, changes: true},
	fuse.Link:          {run: (*worker).link, on: onFile, changes: true},
	fuse.Open:          {run: (*worker).openFile, on: onFile},
	fuse.Create:        {run: (*worker).create, on: onFile, changes: true},
	fuse.Read:          {run: (*worker).read},
	fuse.Write:         {run: (*worker).write},
	fuse.Statfs:        {run: (*worker).statFS, on: onNode},
	fuse.Release:       {run: (*worker).release},
	fuse.Fsync:         {run: (*worker).fsync, on: onNode, slow: true},
	fuse.Setxattr:      {run: (*worker).setxattr, on: onFile, changes: true},
	fuse.Getxattr:      {run: (*worker).getxattr, on: onNode},
	fuse.Listxattr:     {run: (*worker).listxattr, on: onNode},
	fuse.Removexattr:   {run: (*worker).removexattr, on: onFile, changes: true},
	fuse.Init:          {run: (*worker).initialize},
	fuse.Opendir:       {run: (*worker).opendir, on: onNode},
	fuse.Readdir:       {run: (*worker).readdir},
	fuse.Releasedir:    {run: (*worker).releasedir},
	fuse.Fsyncdir:      {run: (*worker).fsyncdir, on: onNode, slow: true},
	fuse.Interrupt:     {run: (*worker).ignore, silent: true},
	fuse.Destroy:       {run: (*worker).ignore},
	fuse.BatchForget:   {run: (*worker).batchForget, silent: true},
	fuse.Fallocate:     {run: (*worker).fallocate, on: onNode, slow: true},
	fuse.Lseek:         {run: (*worker).lseek},
	fuse.CopyFileRange: {run: (*worker).copyFileRange, on: onNode, slow: true},
}

// operationOf returns the operation of an opcode. An unknown opcode gets one that answers ENOSYS.
func operationOf(opcode fuse.Opcode) *operation {
	if int(opcode) >= len(operations) || operations[opcode].run == nil {
		return &unknown
	}
	return &operations[opcode]
}

func (w *worker) ignore() unix.Errno { return 0 }

// SPDX-License-Identifier: MPL-2.0

// Package fuse contains the messages of the FUSE protocol, version 7, as Linux 6.1 defines
// them in include/uapi/linux/fuse.h, and their bounds-checked decoding.
//
// All integers have the byte order of the machine.
package fuse

import (
	"bytes"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Major and Minor are the version that the server speaks. The minor number is that of
// HandleKillprivV2, the newest flag that the server uses.
const (
	Major = 7
	Minor = 33
)

// RootID is the node of the connection's root directory.
const RootID = 1

// NameMax is the length of the longest file name in bytes.
const NameMax = 255

// Sizes of the headers in bytes.
const (
	InHeaderSize  = 40
	OutHeaderSize = 16
	DirentSize    = 24 // without the name
	WriteInSize   = 40
)

// An Opcode names a request.
type Opcode uint32

// Opcodes of requests.
const (
	Lookup        Opcode = 1
	Forget        Opcode = 2
	Getattr       Opcode = 3
	Setattr       Opcode = 4
	Readlink      Opcode = 5
	Symlink       Opcode = 6
	Mknod         Opcode = 8
	Mkdir         Opcode = 9
	Unlink        Opcode = 10
	Rmdir         Opcode = 11
	Rename        Opcode = 12
	Link          Opcode = 13
	Open          Opcode = 14
	Read          Opcode = 15
	Write         Opcode = 16
	Statfs        Opcode = 17
	Release       Opcode = 18
	Fsync         Opcode = 20
	Setxattr      Opcode = 21
	Getxattr      Opcode = 22
	Listxattr     Opcode = 23
	Removexattr   Opcode = 24
	Flush         Opcode = 25
	Init          Opcode = 26
	Opendir       Opcode = 27
	Readdir       Opcode = 28
	Releasedir    Opcode = 29
	Fsyncdir      Opcode = 30
	Create        Opcode = 35
	Interrupt     Opcode = 36
	Destroy       Opcode = 38
	BatchForget   Opcode = 42
	Fallocate     Opcode = 43
	Rename2       Opcode = 45
	Lseek         Opcode = 46
	CopyFileRange Opcode = 47
)

// Flags of InitIn and InitOut.
const (
	AsyncRead        = 1 << 0
	AtomicOTrunc     = 1 << 3
	BigWrites        = 1 << 5
	AutoInvalData    = 1 << 12
	AsyncDIO         = 1 << 15
	ParallelDirops   = 1 << 18
	MaxPages         = 1 << 22
	HandleKillprivV2 = 1 << 28
)

// Bits of SetattrIn.Valid.
const (
	AttrMode     = 1 << 0
	AttrUID      = 1 << 1
	AttrGID      = 1 << 2
	AttrSize     = 1 << 3
	AttrAtime    = 1 << 4
	AttrMtime    = 1 << 5
	AttrFH       = 1 << 6
	AttrAtimeNow = 1 << 7
	AttrMtimeNow = 1 << 8
)

// Other flags.
const (
	GetattrFH      = 1 << 0
	FsyncFdatasync = 1 << 0
)

// A Message is a structure of the protocol: integers without implicit padding.
type Message interface {
	InHeader | OutHeader | InitIn | InitOut | EntryOut | AttrOut | ForgetIn | ForgetOne |
		BatchForgetIn | GetattrIn | SetattrIn | MknodIn | MkdirIn | RenameIn | Rename2In | LinkIn |
		OpenIn | OpenOut | CreateIn | CreateOut | ReleaseIn | ReadIn | WriteIn | WriteOut |
		StatfsOut | FsyncIn | SetxattrIn | GetxattrIn | GetxattrOut | FallocateIn | LseekIn |
		LseekOut | CopyFileRangeIn | Dirent
}

// View returns the first bytes of b as a message, without a copy, and the bytes that follow.
// It returns nil if b is shorter than the message. b must be aligned to 8 bytes.
func View[T Message](b []byte) (*T, []byte) {
	var message T
	size := int(unsafe.Sizeof(message))
	if len(b) < size {
		return nil, nil
	}
	return (*T)(unsafe.Pointer(unsafe.SliceData(b))), b[size:]
}

// CutString returns the string at the start of b with its terminating NUL, and the bytes
// that follow. It returns nil if b contains no NUL.
func CutString(b []byte) (s, rest []byte) {
	end := bytes.IndexByte(b, 0)
	if end < 0 {
		return nil, nil
	}
	return b[:end+1], b[end+1:]
}

// CheckName returns an error unless name, which ends in NUL, is a single component of a path
// that names a file in a directory. "." and ".." are not: they lead to the directory itself
// and out of it.
func CheckName(name []byte) unix.Errno {
	if len(name) < 2 || name[len(name)-1] != 0 {
		return unix.EINVAL
	}
	name = name[:len(name)-1]
	switch {
	case len(name) > NameMax:
		return unix.ENAMETOOLONG
	case bytes.IndexByte(name, '/') >= 0 || bytes.IndexByte(name, 0) >= 0:
		return unix.EINVAL
	case string(name) == "." || string(name) == "..":
		return unix.EINVAL
	}
	return 0
}

// Align rounds the size of a directory entry up to the size of its record.
func Align(n int) int { return (n + 7) &^ 7 }

// SPDX-License-Identifier: MPL-2.0

package fuse

// InHeader begins every request.
type InHeader struct {
	Len     uint32
	Opcode  Opcode
	Unique  uint64
	NodeID  uint64
	UID     uint32
	GID     uint32
	PID     uint32
	ExtLen  uint16
	Padding uint16
}

// OutHeader begins every answer. Error is zero or a negative errno.
type OutHeader struct {
	Len    uint32
	Error  int32
	Unique uint64
}

// InitIn is the body of Init, without the fields after Flags, which old kernels omit.
type InitIn struct {
	Major        uint32
	Minor        uint32
	MaxReadahead uint32
	Flags        uint32
}

// InitOut answers Init.
type InitOut struct {
	Major               uint32
	Minor               uint32
	MaxReadahead        uint32
	Flags               uint32
	MaxBackground       uint16
	CongestionThreshold uint16
	MaxWrite            uint32
	TimeGran            uint32
	MaxPages            uint16
	MapAlignment        uint16
	Flags2              uint32
	Unused              [7]uint32
}

// Attr are the attributes of a file.
type Attr struct {
	Ino       uint64
	Size      uint64
	Blocks    uint64
	Atime     uint64
	Mtime     uint64
	Ctime     uint64
	Atimensec uint32
	Mtimensec uint32
	Ctimensec uint32
	Mode      uint32
	Nlink     uint32
	UID       uint32
	GID       uint32
	Rdev      uint32
	Blksize   uint32
	Flags     uint32
}

// EntryOut answers Lookup and requests that create a file.
type EntryOut struct {
	NodeID         uint64
	Generation     uint64
	EntryValid     uint64
	AttrValid      uint64
	EntryValidNsec uint32
	AttrValidNsec  uint32
	Attr           Attr
}

// AttrOut answers Getattr and Setattr.
type AttrOut struct {
	AttrValid     uint64
	AttrValidNsec uint32
	Dummy         uint32
	Attr          Attr
}

// ForgetIn is the body of Forget.
type ForgetIn struct {
	Nlookup uint64
}

// BatchForgetIn precedes Count times ForgetOne.
type BatchForgetIn struct {
	Count uint32
	Dummy uint32
}

// ForgetOne is an element of BatchForget.
type ForgetOne struct {
	NodeID  uint64
	Nlookup uint64
}

// GetattrIn is the body of Getattr.
type GetattrIn struct {
	Flags uint32
	Dummy uint32
	FH    uint64
}

// SetattrIn is the body of Setattr.
type SetattrIn struct {
	Valid     uint32
	Padding   uint32
	FH        uint64
	Size      uint64
	LockOwner uint64
	Atime     uint64
	Mtime     uint64
	Ctime     uint64
	Atimensec uint32
	Mtimensec uint32
	Ctimensec uint32
	Mode      uint32
	Unused4   uint32
	UID       uint32
	GID       uint32
	Unused5   uint32
}

// MknodIn precedes a name.
type MknodIn struct {
	Mode    uint32
	Rdev    uint32
	Umask   uint32
	Padding uint32
}

// MkdirIn precedes a name.
type MkdirIn struct {
	Mode  uint32
	Umask uint32
}

// RenameIn precedes the old and the new name.
type RenameIn struct {
	NewDir uint64
}

// Rename2In precedes the old and the new name.
type Rename2In struct {
	NewDir  uint64
	Flags   uint32
	Padding uint32
}

// LinkIn precedes the new name.
type LinkIn struct {
	OldNodeID uint64
}

// OpenIn is the body of Open and Opendir.
type OpenIn struct {
	Flags     uint32
	OpenFlags uint32
}

// OpenOut answers Open and Opendir.
type OpenOut struct {
	FH        uint64
	OpenFlags uint32
	Padding   uint32
}

// CreateIn precedes a name.
type CreateIn struct {
	Flags     uint32
	Mode      uint32
	Umask     uint32
	OpenFlags uint32
}

// CreateOut answers Create.
type CreateOut struct {
	Entry EntryOut
	Open  OpenOut
}

// ReleaseIn is the body of Release and Releasedir.
type ReleaseIn struct {
	FH           uint64
	Flags        uint32
	ReleaseFlags uint32
	LockOwner    uint64
}

// ReadIn is the body of Read and Readdir.
type ReadIn struct {
	FH        uint64
	Offset    uint64
	Size      uint32
	ReadFlags uint32
	LockOwner uint64
	Flags     uint32
	Padding   uint32
}

// WriteIn precedes Size bytes of data.
type WriteIn struct {
	FH         uint64
	Offset     uint64
	Size       uint32
	WriteFlags uint32
	LockOwner  uint64
	Flags      uint32
	Padding    uint32
}

// WriteOut answers Write and CopyFileRange.
type WriteOut struct {
	Size    uint32
	Padding uint32
}

// StatfsOut answers Statfs.
type StatfsOut struct {
	Blocks  uint64
	Bfree   uint64
	Bavail  uint64
	Files   uint64
	Ffree   uint64
	Bsize   uint32
	Namelen uint32
	Frsize  uint32
	Padding uint32
	Spare   [6]uint32
}

// FsyncIn is the body of Fsync and Fsyncdir.
type FsyncIn struct {
	FH         uint64
	FsyncFlags uint32
	Padding    uint32
}

// SetxattrIn precedes a name and Size bytes of its value.
type SetxattrIn struct {
	Size  uint32
	Flags uint32
}

// GetxattrIn precedes a name for Getxattr, and is the body of Listxattr. With Size 0 the
// answer is GetxattrOut.
type GetxattrIn struct {
	Size    uint32
	Padding uint32
}

// GetxattrOut contains the size of a value or a list.
type GetxattrOut struct {
	Size    uint32
	Padding uint32
}

// FallocateIn is the body of Fallocate.
type FallocateIn struct {
	FH      uint64
	Offset  uint64
	Length  uint64
	Mode    uint32
	Padding uint32
}

// LseekIn is the body of Lseek.
type LseekIn struct {
	FH      uint64
	Offset  uint64
	Whence  uint32
	Padding uint32
}

// LseekOut answers Lseek.
type LseekOut struct {
	Offset uint64
}

// CopyFileRangeIn is the body of CopyFileRange.
type CopyFileRangeIn struct {
	FHIn      uint64
	OffIn     uint64
	NodeIDOut uint64
	FHOut     uint64
	OffOut    uint64
	Len       uint64
	Flags     uint64
}

// Dirent precedes the name of a directory entry. The record is padded to 8 bytes.
type Dirent struct {
	Ino     uint64
	Off     uint64
	Namelen uint32
	Type    uint32
}

// SPDX-License-Identifier: MPL-2.0

// Package files describes the live directories of a task: directories and files of the host
// that a guest sees as its own, in both directions. A file server (cmd/lkl-files), one
// process a task, serves them in the FUSE protocol.
//
// The guest's kernel sends one FUSE request per packet of a SOCK_SEQPACKET socket, and
// the server answers with one packet. The root directory of the connection contains one entry
// per share, named by its index in Plan.Shares: "0", "1" and so on.
package files

const (
	// MaxWrite limits the data of one FUSE read or write, in bytes: a packet of this size
	// still fits in pages of one socket buffer.
	MaxWrite = 64 << 10
	// MaxPacket is the size in bytes of the longest packet in either direction.
	MaxPacket = MaxWrite + 4096
)

// A Plan describes the shares of a task to its file server.
type Plan struct {
	Version int `json:"Version"`
	// UID and GID are the user of the job. The server acts as this user: with UID 0 it keeps
	// the capabilities by which root changes files of other users, otherwise it has none.
	UID    uint32  `json:"UID"`
	GID    uint32  `json:"GID"`
	Shares []Share `json:"Shares"`
}

// A Share is a directory or a file of the host that the guest may use.
type Share struct {
	FD       int  `json:"FD"`       // index of an inherited O_PATH descriptor
	ReadOnly bool `json:"ReadOnly"` // enforced by the kernel, in the server's mount namespace
	// Follow makes mounts below the directory that appear on the host later visible.
	Follow bool `json:"Follow"`
	// ReadOnlyDirs are names of directories in the share that the guest cannot write to, rename
	// or remove. Names that are missing when the server starts are ignored.
	ReadOnlyDirs []string `json:"ReadOnlyDirs,omitempty"`
	// Hidden are files below the directory that the guest does not see.
	Hidden []Inode `json:"Hidden,omitempty"`
}

// An Inode identifies a file of the host.
type Inode struct {
	Dev uint64 `json:"Dev"`
	Ino uint64 `json:"Ino"`
}

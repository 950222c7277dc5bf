// SPDX-License-Identifier: MPL-2.0

package disk

// Limits of ext4 with blocks of BlockSize bytes.
const (
	maxNameLen          = 255           // bytes of one path element
	maxPathLen          = 4095          // bytes of a path that a program can use
	maxSymlinkTargetLen = BlockSize - 1 // bytes
	maxLinks            = 65000         // names of one inode
	maxBlocks           = 1<<32 - 1     // of an image: 16 TiB
	maxXattrsSize       = 3500          // bytes of one file's extended attributes, which share one block
	maxID               = 1<<32 - 2     // user or group
)

// Limits of e2fsprogs.
const (
	// maxPutPathLen is the longest path that debugfs accepts, in bytes.
	maxPutPathLen = 4095
	// Device numbers that debugfs can create and Linux accepts.
	maxDeviceMajor = 1<<12 - 1
	maxDeviceMinor = 1<<16 - 1
)

// Limits on what an image is built from, so that a small archive or tree cannot exhaust
// the host's disk, memory or time.
const (
	maxEntries      = 1 << 20  // files and directories
	maxArchiveText  = 64 << 20 // bytes of all names, targets and attributes together
	maxArchiveSteps = 32 << 20 // path elements that are resolved for all names together
	maxPathSymlinks = 40       // symlinks that one path leads through, as in Linux
)

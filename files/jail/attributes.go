// SPDX-License-Identifier: MPL-2.0

package jail

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/files"
)

// attributes are those of the mounts of a share. With Follow, the mounts receive later mounts
// and unmounts of the host, but pass none to the host.
func attributes(share files.Share) *unix.MountAttr {
	attr := &unix.MountAttr{
		Attr_set:    unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC,
		Propagation: unix.MS_PRIVATE,
	}
	if share.ReadOnly {
		attr.Attr_set |= unix.MOUNT_ATTR_RDONLY
	}
	if share.Follow {
		attr.Propagation = unix.MS_SLAVE
	}
	return attr
}

// restrict sets the attributes of the mounts of a share, which is attached at path. The
// kernel then refuses to write to a read-only share, whatever the server does.
func restrict(fd int, path string, share files.Share) error {
	err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, attributes(share))
	if errors.Is(err, unix.ENOSYS) {
		err = restrictByRemount(path, share)
	}
	if err != nil {
		return fmt.Errorf("set the attributes of the mounts below %s: %w", path, err)
	}
	return nil
}

// restrictByRemount sets the attributes of attached mounts as mount_setattr(2) does, on
// kernels that lack it. A remount replaces all flags of a mount, so it repeats those that
// the mount has.
func restrictByRemount(path string, share files.Share) error {
	propagation := uintptr(attributes(share).Propagation)
	if err := mount("", path, "", unix.MS_REC|propagation); err != nil {
		return err
	}
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	for line := range bytes.Lines(table) {
		fields := strings.Fields(string(line)) // proc_pid_mountinfo(5)
		if len(fields) < 6 {
			return fmt.Errorf("mountinfo has a line of %d fields", len(fields))
		}
		target := unescape(fields[4])
		if target != path && !strings.HasPrefix(target, path+"/") {
			continue
		}
		flags := unix.MS_REMOUNT | unix.MS_BIND | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | presentFlags(fields[5])
		if share.ReadOnly {
			flags |= unix.MS_RDONLY
		}
		if err := mount("", target, "", flags); err != nil {
			return err
		}
	}
	return nil
}

func presentFlags(options string) (flags uintptr) {
	for option := range strings.SplitSeq(options, ",") {
		switch option {
		case "ro":
			flags |= unix.MS_RDONLY
		case "noatime":
			flags |= unix.MS_NOATIME
		case "nodiratime":
			flags |= unix.MS_NODIRATIME
		case "relatime":
			flags |= unix.MS_RELATIME
		}
	}
	return flags
}

// unescape decodes the octal escapes of a path in mountinfo.
func unescape(path string) string {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(path, `\`)
		b.WriteString(before)
		if !found || len(after) < 3 {
			return b.String()
		}
		if c, err := strconv.ParseUint(after[:3], 8, 8); err == nil {
			b.WriteByte(byte(c))
		}
		path = after[3:]
	}
}

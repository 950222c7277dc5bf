// SPDX-License-Identifier: MPL-2.0

package hostcheck

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A mount is a line of /proc/thread-self/mountinfo (proc_pid_mountinfo(5)).
type mount struct {
	point   string
	options []string // of the mount itself
	fsType  string
	source  string
}

// findMount returns the mount that contains a path, which must exist.
func findMount(path string) (mount, error) {
	var stat unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, 0, unix.STATX_MNT_ID, &stat); err != nil {
		return mount{}, &os.PathError{Op: "statx", Path: path, Err: err}
	}
	content, err := os.ReadFile("/proc/thread-self/mountinfo")
	if err != nil {
		return mount{}, err
	}
	id := strconv.FormatUint(stat.Mnt_id, 10)
	for line := range strings.Lines(string(content)) {
		if m, found := parseMount(line, id); found {
			return m, nil
		}
	}
	return mount{}, fmt.Errorf("%s: its mount %s is not in /proc/thread-self/mountinfo", path, id)
}

// parseMount parses a line if it is that of the mount with the ID.
func parseMount(line, id string) (mount, bool) {
	fields := strings.Fields(line)
	const fixed, afterSeparator = 6, 3
	separator := slices.Index(fields, "-")
	if separator < fixed || len(fields) < separator+afterSeparator || fields[0] != id {
		return mount{}, false
	}
	return mount{
		point: unescape(fields[4]), options: strings.Split(fields[5], ","),
		fsType: fields[separator+1], source: unescape(fields[separator+2]),
	}, true
}

// unescape decodes octal escapes, such as \040 for a blank.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(c))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

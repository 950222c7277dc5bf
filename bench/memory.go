// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// privateMemory returns the private memory of a process in KiB, and the part of it that
// does not belong to the guest. The spt tender maps a guest's memory at address 0, so
// that its addresses are below its size.
func privateMemory(pid int, guestSize uint64) (all, overhead float64, err error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/smaps", pid))
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	var start uint64
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) == 0 {
			continue
		}
		if from, _, ok := strings.Cut(fields[0], "-"); ok {
			if start, err = strconv.ParseUint(from, 16, 64); err != nil {
				return 0, 0, err
			}
			continue
		}
		if len(fields) < 2 || !strings.HasPrefix(fields[0], "Private_") {
			continue
		}
		kib, err := strconv.ParseFloat(fields[1], 64)
		if err != nil {
			return 0, 0, err
		}
		all += kib
		if start >= guestSize {
			overhead += kib
		}
	}
	return all, overhead, lines.Err()
}

// parentOf returns the parent of a process (field 4 of /proc/PID/stat).
func parentOf(pid int) (int, error) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	line := string(content)
	fields := strings.Fields(line[strings.LastIndexByte(line, ')')+1:])
	if len(fields) < 2 {
		return 0, errors.New("unexpected /proc/PID/stat: " + line)
	}
	return strconv.Atoi(fields[1])
}

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

// privateOf is the memory, in KiB, that a process shares with no other, and
// how much of it is not a guest's own: the guest's is below its memory's size
// (Solo5's spt maps it from address 0).
func privateOf(pid int, guest uint64) (all, beyond float64, err error) {
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
		if start >= guest {
			beyond += kib
		}
	}
	return all, beyond, lines.Err()
}

// parentOf is the process that started another (proc_pid_stat(5), field 4).
func parentOf(pid int) (int, error) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	line := string(content)
	fields := strings.Fields(line[strings.LastIndexByte(line, ')')+1:])
	if len(fields) < 2 {
		return 0, errors.New("short " + line)
	}
	return strconv.Atoi(fields[1])
}

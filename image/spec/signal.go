// SPDX-License-Identifier: MPL-2.0

package spec

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// The real-time signals that a C library leaves to programs.
const (
	minRealTimeSignal = 34
	maxRealTimeSignal = 64
)

// signalAliases are the second names of some signals (signal(7)).
var signalAliases = map[string]syscall.Signal{
	"SIGIOT": syscall.SIGABRT, "SIGCLD": syscall.SIGCHLD, "SIGPOLL": syscall.SIGIO,
}

// ParseSignal reads the name of a signal, with or without SIG and in either case, or its
// number. Like Docker, it accepts real-time signals such as SIGRTMIN+3.
func ParseSignal(s string) (syscall.Signal, error) {
	if n, err := strconv.Atoi(s); err == nil && n > 0 && n <= maxRealTimeSignal {
		return syscall.Signal(n), nil
	}
	name := "SIG" + strings.TrimPrefix(strings.ToUpper(s), "SIG")
	if sig := unix.SignalNum(name); sig != 0 {
		return sig, nil
	}
	if sig, ok := signalAliases[name]; ok {
		return sig, nil
	}
	if sig, ok := realTimeSignal(name); ok {
		return sig, nil
	}
	return 0, fmt.Errorf("%s is not a Linux signal, such as SIGTERM or 15", shortened(s))
}

func realTimeSignal(name string) (syscall.Signal, bool) {
	base, offset := minRealTimeSignal, strings.TrimPrefix(name, "SIGRTMIN")
	if offset == name {
		if base, offset = maxRealTimeSignal, strings.TrimPrefix(name, "SIGRTMAX"); offset == name {
			return 0, false
		}
	}
	n := 0
	if offset != "" {
		var err error
		if n, err = strconv.Atoi(offset); err != nil || offset[0] != '+' && offset[0] != '-' {
			return 0, false
		}
	}
	// Real offsets are small. The check before the addition prevents an overflow.
	if n < -maxRealTimeSignal || n > maxRealTimeSignal {
		return 0, false
	}
	n += base
	return syscall.Signal(n), n >= minRealTimeSignal && n <= maxRealTimeSignal
}

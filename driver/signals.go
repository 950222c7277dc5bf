// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// terminatingSignals are the signals that users send to end a program. Each
// ends a guest without a control device. The driver refuses other signals for
// such a guest: they would also end it, or do nothing.
var terminatingSignals = []syscall.Signal{
	syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGHUP, syscall.SIGKILL,
}

// signalAliases are the second names of some signals (signal(7)).
var signalAliases = map[string]syscall.Signal{
	"SIGIOT": syscall.SIGABRT, "SIGCLD": syscall.SIGCHLD, "SIGPOLL": syscall.SIGIO,
}

// parseSignal reads a signal's name, with or without SIG, or its number.
func parseSignal(name string) (syscall.Signal, error) {
	upper := strings.ToUpper(name)
	for _, candidate := range []string{upper, "SIG" + upper} {
		if sig := unix.SignalNum(candidate); sig != 0 {
			return sig, nil
		}
		if sig, ok := signalAliases[candidate]; ok {
			return sig, nil
		}
	}
	if n, err := strconv.Atoi(name); err == nil && unix.SignalName(syscall.Signal(n)) != "" {
		return syscall.Signal(n), nil
	}
	return 0, fmt.Errorf("%q is not a Linux signal, such as SIGTERM", name)
}

// killSignal returns the signal that stops a task: the job's kill_signal, the image's
// StopSignal, or SIGTERM. An unknown signal counts as SIGTERM, because an error would make
// the task impossible to stop.
func (h *handle) killSignal(name string) syscall.Signal {
	name = cmp.Or(name, h.state.StopSignal)
	if name == "" {
		return syscall.SIGTERM
	}
	sig, err := parseSignal(name)
	if err != nil {
		h.log.Warn("invalid stop signal; sending SIGTERM instead", "error", err)
		return syscall.SIGTERM
	}
	return sig
}

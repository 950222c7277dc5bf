// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"cmp"
	"syscall"

	"github.com/lkl-nomad/nomad-driver-lkl/image/spec"
)

// terminatingSignals are the signals that users send to end a program. Each
// ends a guest without a control device. The driver refuses other signals for
// such a guest: they would also end it, or do nothing.
var terminatingSignals = []syscall.Signal{
	syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGHUP, syscall.SIGKILL,
}

// killSignal returns the signal that stops a task: the job's kill_signal, the image's
// StopSignal, or SIGTERM. An unknown signal counts as SIGTERM, because an error would make
// the task impossible to stop.
func (h *handle) killSignal(name string) syscall.Signal {
	name = cmp.Or(name, h.state.StopSignal)
	if name == "" {
		return syscall.SIGTERM
	}
	sig, err := spec.ParseSignal(name)
	if err != nil {
		h.log.Warn("invalid stop signal; sending SIGTERM instead", "error", err)
		return syscall.SIGTERM
	}
	return sig
}

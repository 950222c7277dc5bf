// SPDX-License-Identifier: MPL-2.0

package unikernel

import "errors"

// What can be wrong with a kernel file. Every error of Read wraps one of these
// or an error of the reader.
var (
	// ErrNotSolo5 is a file that is no ELF executable of Solo5 at all.
	ErrNotSolo5 = errors.New("not a Solo5 unikernel")
	// ErrMachine is a unikernel for a processor other than x86-64.
	ErrMachine = errors.New("unikernel for another processor")
	// ErrTarget is a unikernel for a target that Solo5 does not define.
	ErrTarget = errors.New("unknown Solo5 target")
	// ErrABI is an ABI version other than 1 and 2.
	ErrABI = errors.New("unsupported Solo5 ABI version")
	// ErrManifest is a manifest that is missing or breaks Solo5's rules.
	ErrManifest = errors.New("invalid Solo5 manifest")
	// ErrInvalid is a Solo5 executable whose headers or segments break the
	// rules of its loader.
	ErrInvalid = errors.New("invalid executable")
)

var (
	// ErrMemory is a guest whose memory is too small.
	ErrMemory = errors.New("not enough guest memory")
)

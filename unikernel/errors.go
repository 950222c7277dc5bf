// SPDX-License-Identifier: MPL-2.0

package unikernel

import "errors"

// Every error of Read wraps one of these, or an error of the reader.
var (
	// ErrNotSolo5 means that the file is not an ELF executable of Solo5.
	ErrNotSolo5 = errors.New("not a Solo5 unikernel")
	// ErrMachine means that the processor is not x86-64.
	ErrMachine = errors.New("unikernel for another processor")
	// ErrTarget means that Solo5 does not define the target.
	ErrTarget = errors.New("unknown Solo5 target")
	// ErrABI means that the ABI version is not 1 or 2.
	ErrABI = errors.New("unsupported Solo5 ABI version")
	// ErrManifest means that the manifest is missing or breaks Solo5's rules.
	ErrManifest = errors.New("invalid Solo5 manifest")
	// ErrInvalid means that the headers or segments break the rules of Solo5's
	// loader.
	ErrInvalid = errors.New("invalid executable")
)

// ErrMemory means that the guest's memory is too small.
var ErrMemory = errors.New("not enough guest memory")

// SPDX-License-Identifier: MPL-2.0

package unikernel

import "errors"

// MaxCommandLine is the length of the longest command line, in bytes, without
// its terminating zero (Solo5: 8192 bytes in hvt_abi.h and spt_abi.h).
const MaxCommandLine = 8191

// A Flavor is the family of software in a unikernel, which decides how its
// command line is read.
type Flavor string

const (
	// FlavorLKL is Linux as a library.
	FlavorLKL Flavor = "lkl"
	// FlavorSolo5 is any other unikernel: it gets the arguments as they are.
	FlavorSolo5 Flavor = "solo5"
)

// Flavor guesses the flavour from the manifest: FlavorLKL where it declares a
// block device "rootfs" and a net device "tap", as every LKL unikernel does.
func (m *Image) Flavor() Flavor {
	root, _ := m.Device("rootfs")
	tap, _ := m.Device("tap")
	if root.Type == Block && tap.Type == Net {
		return FlavorLKL
	}
	return FlavorSolo5
}

// An Invocation is what a guest is started with.
type Invocation struct {
	// Env is the environment; FlavorSolo5 cannot pass it and leaves it out.
	Env map[string]string
	// Args are the arguments after the program's own name.
	Args []string
	// Config is for FlavorLKL; without it such a guest adds neither disk nor
	// network.
	Config *LKLConfig
}

// CommandLine is the guest's command line, byte by byte as the tender passes
// it. Its errors wrap ErrWord, ErrTooLong or ErrConfig and name the word or
// variable.
func CommandLine(f Flavor, m *Image, in Invocation) (string, error) {
	return "", errors.ErrUnsupported
}

// Join makes a command line as the stock tenders do: the words joined by
// single blanks, unquoted. Its errors wrap ErrWord (a zero byte) or ErrTooLong.
func Join(words []string) (string, error) {
	return "", errors.ErrUnsupported
}

// SPDX-License-Identifier: MPL-2.0

package server

import "github.com/lkl-nomad/nomad-driver-lkl/files/jail"

// Main is the program of a file server that jail.Start has started. It returns the exit status
// of the process.
func Main() int {
	return jail.Main(func(in jail.Inside) (*Server, error) {
		return New(Config{Plan: *in.Plan, Socket: in.Conn, Shares: in.Roots, ProcSelfFD: in.ProcSelfFD})
	})
}

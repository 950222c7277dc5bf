// SPDX-License-Identifier: MPL-2.0

//go:build !(linux && amd64)

package spt

import "github.com/lkl-nomad/nomad-driver-lkl/tender"

// Start returns ErrUnsupported: it is implemented for linux/amd64 only.
func Start(*tender.Guest, tender.Jail) (*Process, error) {
	return nil, ErrUnsupported
}

// SPDX-License-Identifier: MPL-2.0

package files

import (
	"errors"
	"fmt"
	"strings"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/problems"
)

const (
	// Program is the name of the file server's program.
	Program = "lkl-files"
	// Version is the version of a Plan. A plan is never stored, and the program that reads
	// a plan comes from the build that wrote it.
	Version = 1
	// MaxShares limits the shares of a task. A guest has about as many mounts.
	MaxShares = 128
	// MaxReadOnlyDirs limits the read-only directories of a share.
	MaxReadOnlyDirs = 16
	// MaxHidden limits the hidden files of a share.
	MaxHidden = 64
)

// ErrPlan is wrapped by every error of Plan.Check.
var ErrPlan = errors.New("invalid plan of a file server")

// Check returns all mistakes in a plan that comes with the given number of inherited files.
func (p *Plan) Check(inherited int) error {
	var mistakes problems.List
	if p.Version != Version {
		mistakes.Addf("", "version %d: only version %d is supported", p.Version, Version)
	}
	if n := len(p.Shares); n == 0 || n > MaxShares {
		mistakes.Addf("", "%d shares: 1 to %d are possible", n, MaxShares)
	}
	// The kernel takes the largest number for "no change" (setresuid(2)).
	if p.UID == ^uint32(0) || p.GID == ^uint32(0) {
		mistakes.Addf("", "UID %d or GID %d is not a valid ID", p.UID, p.GID)
	}
	for i, s := range p.Shares {
		if s.FD < 0 || s.FD >= inherited {
			mistakes.Addf("", "share %d is the inherited file with index %d, but there are %d inherited files", i, s.FD, inherited)
		}
		if n := len(s.ReadOnlyDirs); n > MaxReadOnlyDirs {
			mistakes.Addf("", "share %d has %d read-only directories: at most %d are possible", i, n, MaxReadOnlyDirs)
		}
		for _, name := range s.ReadOnlyDirs {
			if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
				mistakes.Addf("", "share %d: %q is not the name of a directory in it", i, name)
			}
		}
		if len(s.Hidden) > MaxHidden {
			mistakes.Addf("", "share %d hides %d files: at most %d are possible", i, len(s.Hidden), MaxHidden)
		}
	}
	if err := mistakes.Err(); err != nil {
		return fmt.Errorf("%w: %w", ErrPlan, err)
	}
	return nil
}

// SPDX-License-Identifier: MPL-2.0

package taskmemory

import (
	"testing"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
)

const mib = 1 << 20

func TestGuest_SubtractsTheOverhead(t *testing.T) {
	for limit, want := range map[uint64]uint64{
		0:          0,
		4 * mib:    0,
		64 * mib:   60*mib - 128<<10, // 4 MiB and 1/512
		512 * mib:  507 * mib,
		1001 * mib: 997*mib - 501*0x1000, // 500.5 pages, rounded down to a page
	} {
		got := Division{}.Guest(limit)
		must.Eq(t, want, got, must.Sprintf("limit of %d MiB", limit>>20))
		must.Eq(t, 0, got%unikernel.PageSize)
	}
}

func TestMinLimit_IsTheSmallestSufficientLimit(t *testing.T) {
	for _, d := range []Division{{}, {Legacy: true}, {Server: true}} {
		for d.Need = 1 << 20; d.Need < 4<<30; d.Need = d.Need*3/2 + 12345 {
			limit := d.MinLimit()
			must.Eq(t, 0, limit%mib)
			must.True(t, d.Guest(limit) >= d.Need)
			must.True(t, d.Guest(limit-mib) < d.Need)
		}
	}
}

// The features of a guest count only for flavor lkl.
func TestDivide_DependsOnFlavorAndFeatures(t *testing.T) {
	elf := &unikernel.Info{End: 5 * mib, Features: unikernel.FeatureMemory | unikernel.LiveFeatures}
	must.Eq(t, Division{Need: 9 * mib, Server: true}, Divide(elf, unikernel.FlavorLKL))
	must.Eq(t, Division{Need: 5*mib + 512<<10}, Divide(elf, unikernel.FlavorSolo5))
	elf.Features = unikernel.FeatureMemory
	must.Eq(t, Division{Need: 9 * mib}, Divide(elf, unikernel.FlavorLKL))
}

// SPDX-License-Identifier: MPL-2.0

package lkl_test

import (
	"testing"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel/lkl"
)

func TestKernelMemory_FollowsTheMeasuredTable(t *testing.T) {
	cases := map[uint64]string{
		4096: "100M", 256: "100M", 255: "32M", 136: "32M", 135: "24M", 72: "24M", 71: "12M", 32: "12M",
	}
	for guest, kernel := range cases {
		got, err := lkl.KernelMemory(guest << 20)
		must.NoError(t, err)
		must.Eq(t, "mem="+kernel+" virtio-pci.force_legacy=1", got, must.Sprintf("%d MiB", guest))
	}
	for _, guest := range []uint64{0, 31 << 20, 32<<20 - 1} {
		_, err := lkl.KernelMemory(guest)
		must.ErrorIs(t, err, unikernel.ErrMemory)
	}
}

// SPDX-License-Identifier: MPL-2.0

package network

import (
	"testing"

	"github.com/shoenig/test/must"
	"github.com/vishvananda/netlink"
)

func TestDump_RepeatsAnInterruptedList(t *testing.T) {
	attempts := 0
	all, err := dump(func() ([]int, error) {
		attempts++
		if attempts < 3 {
			return []int{1}, netlink.ErrDumpInterrupted
		}
		return []int{1, 2}, nil
	})
	must.NoError(t, err)
	must.Eq(t, []int{1, 2}, all)

	_, err = dump(func() ([]int, error) { return nil, netlink.ErrDumpInterrupted })
	must.ErrorIs(t, err, netlink.ErrDumpInterrupted)
}

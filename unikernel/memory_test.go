// SPDX-License-Identifier: MPL-2.0

package unikernel

import (
	"math"
	"testing"

	"github.com/shoenig/test/must"
)

func TestFits_NeedsTheWholeImage(t *testing.T) {
	m := &Info{Entry: 0x100000, End: 0x300000}
	must.NoError(t, m.Fits(0x300000))
	must.ErrorIs(t, m.Fits(0x2fffff), ErrMemory)
	must.ErrorIs(t, m.Fits(0), ErrMemory)
	m.Entry = 0x400000
	must.ErrorIs(t, m.Fits(0x400000), ErrMemory)
	must.NoError(t, m.Fits(0x400001))
	m.Entry, m.End = math.MaxUint64, math.MaxUint64&^0xfff
	must.ErrorIs(t, m.Fits(math.MaxUint64), ErrMemory)
}

func TestMinMemory_LeavesRoomForAHeap(t *testing.T) {
	lkl := []Device{{"rootfs", Block}, {"tap", Net}}
	cases := []struct {
		name string
		m    Info
		want uint64
	}{
		{"a small one", Info{Target: TargetSPT, End: 0x106000}, 2 << 20},
		{"a heap into the next MiB", Info{Target: TargetSPT, End: 0x181000}, 3 << 20},
		{"hvt's grain", Info{Target: TargetHVT, End: 0x181000}, 4 << 20},
		{"a guest of 2020", Info{Target: TargetSPT, End: 0x900000, Manifest: lkl}, 32 << 20},
		{"a guest of 2020 with a device called control", Info{Target: TargetSPT, End: 0x900000, Manifest: append(lkl, Device{"control", Net})}, 32 << 20},
		{"a guest that sizes itself", Info{Target: TargetSPT, End: 0x900000, Manifest: lkl, Features: FeatureMemory}, 10 << 20},
		{"one that does not, by its note", Info{Target: TargetSPT, End: 0x900000, Features: FeatureConfig}, 32 << 20},
		{"a huge one", Info{Target: TargetSPT, End: math.MaxUint64 &^ 0xfff}, math.MaxUint64},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) { must.Eq(t, c.want, c.m.MinMemory()) })
	}
}

func TestNames_AreSolo5s(t *testing.T) {
	for target, name := range map[Target]string{1: "hvt", 2: "spt", 3: "virtio", 4: "muen", 5: "genode", 6: "xen", 9: "target 9"} {
		must.Eq(t, name, target.String())
	}
	must.Eq(t, "block", Block.String())
	must.Eq(t, "net", Net.String())
	must.Eq(t, "device type 3", DeviceType(3).String())
}

// SPDX-License-Identifier: MPL-2.0

package unikernel

import (
	"math"
	"testing"

	"github.com/shoenig/test/must"
)

func TestFits_NeedsAllSegmentsAndTheEntry(t *testing.T) {
	u := &Info{Entry: 0x100000, End: 0x300000}
	must.NoError(t, u.Fits(0x300000))
	must.ErrorIs(t, u.Fits(0x2fffff), ErrMemory)
	must.ErrorIs(t, u.Fits(0), ErrMemory)
	u.Entry = 0x400000
	must.ErrorIs(t, u.Fits(0x400000), ErrMemory)
	must.NoError(t, u.Fits(0x400001))
	u.Entry, u.End = math.MaxUint64, math.MaxUint64&^0xfff
	must.ErrorIs(t, u.Fits(math.MaxUint64), ErrMemory)
}

func TestMinMemory_LeavesRoomForAHeap(t *testing.T) {
	lkl := []Device{{"rootfs", Block}, {"tap", Net}}
	cases := []struct {
		name string
		u    Info
		want uint64
	}{
		{"small", Info{Target: TargetSPT, End: 0x106000}, 2 << 20},
		{"heap into the next MiB", Info{Target: TargetSPT, End: 0x181000}, 3 << 20},
		{"hvt, whole 2 MiB", Info{Target: TargetHVT, End: 0x181000}, 4 << 20},
		{"legacy LKL guest", Info{Target: TargetSPT, End: 0x900000, Manifest: lkl}, 32 << 20},
		{"legacy LKL guest with a control device", Info{Target: TargetSPT, End: 0x900000, Manifest: append(lkl, Device{"control", Net})}, 32 << 20},
		{"guest with FeatureMemory", Info{Target: TargetSPT, End: 0x900000, Manifest: lkl, Features: FeatureMemory}, 10 << 20},
		{"guest with other features", Info{Target: TargetSPT, End: 0x900000, Features: FeatureConfig}, 32 << 20},
		{"huge", Info{Target: TargetSPT, End: math.MaxUint64 &^ 0xfff}, math.MaxUint64},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) { must.Eq(t, c.want, c.u.MinMemory()) })
	}
}

func TestNames_AreThoseOfSolo5(t *testing.T) {
	for target, name := range map[Target]string{1: "hvt", 2: "spt", 3: "virtio", 4: "muen", 5: "genode", 6: "xen", 9: "target 9"} {
		must.Eq(t, name, target.String())
	}
	must.Eq(t, "block", Block.String())
	must.Eq(t, "net", Net.String())
	must.Eq(t, "device type 3", DeviceType(3).String())
}

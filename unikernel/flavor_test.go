// SPDX-License-Identifier: MPL-2.0

package unikernel

import (
	"testing"

	"github.com/shoenig/test/must"
)

func TestFlavor_DependsOnNoteOrManifest(t *testing.T) {
	must.Eq(t, FlavorLKL, (&Info{Features: FeatureConfig}).Flavor())
	must.Eq(t, FlavorSolo5, (&Info{Features: FeatureMemory}).Flavor())

	rootfs, tap, control := Device{"rootfs", Block}, Device{"tap", Net}, Device{"control", Net}
	cases := []struct {
		devices []Device
		want    Flavor
		control bool
	}{
		{nil, FlavorSolo5, false},
		{[]Device{rootfs}, FlavorSolo5, false},
		{[]Device{tap}, FlavorSolo5, false},
		{[]Device{rootfs, tap}, FlavorLKL, false},
		{[]Device{control, tap, rootfs}, FlavorLKL, true},
		{[]Device{{"rootfs", Net}, tap}, FlavorSolo5, false},
		{[]Device{rootfs, {"tap", Block}}, FlavorSolo5, false},
		{[]Device{rootfs, tap, {"control", Block}}, FlavorLKL, false},
	}
	for _, c := range cases {
		u := &Info{Manifest: c.devices}
		must.Eq(t, c.want, u.Flavor(), must.Sprint(c.devices))
		must.Eq(t, c.control, u.HasControl(), must.Sprint(c.devices))
	}
}

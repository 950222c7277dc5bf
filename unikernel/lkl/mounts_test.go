// SPDX-License-Identifier: MPL-2.0

package lkl_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel/lkl"
)

const filesFeatures = unikernel.FeatureConfig | unikernel.FeatureDevices | unikernel.FeatureFiles

func TestConfig_EncodesMounts(t *testing.T) {
	got, err := lkl.Config{Mounts: []lkl.Mount{
		{Device: "0", Path: "/local", Type: lkl.HostFS, Options: "ro,nosuid,nodev"},
		{Device: "tmpfs", Path: "/cache", Type: lkl.TmpFS, Options: "size=64m,mode=1777"},
		{Device: "data", Path: "/R&D <a b>"},
	}}.Encode(filesFeatures)
	must.NoError(t, err)
	must.Eq(t, `{"mounts":[{"device":"0","path":"/local","type":"hostfs","options":"ro,nosuid,nodev"},`+
		`{"device":"tmpfs","path":"/cache","type":"tmpfs","options":"size=64m,mode=1777"},`+
		`{"device":"data","path":"/R&D <a b>"}]}`, got)
}

func TestConfig_RefusesInvalidMounts(t *testing.T) {
	for says, change := range map[string]func(*lkl.Mount){
		`"data" is not an absolute path`:          func(m *lkl.Mount) { m.Path = "data" },
		`"" is not an absolute path`:              func(m *lkl.Mount) { m.Path = "" },
		`"/" is the root directory`:               func(m *lkl.Mount) { m.Path = "/" },
		`"/./" is the root directory`:             func(m *lkl.Mount) { m.Path = "/./" },
		`"/a/../b" contains ".."`:                 func(m *lkl.Mount) { m.Path = "/a/../b" },
		`"/proc/x" conflicts with /proc`:          func(m *lkl.Mount) { m.Path = "/proc/x" },
		`"/dev/null" conflicts with /dev`:         func(m *lkl.Mount) { m.Path = "/dev/null" },
		"must be printable ASCII without any of":  func(m *lkl.Mount) { m.Path = "/ü" },
		"250 bytes, 1 more than 249":              func(m *lkl.Mount) { m.Path = "/" + strings.Repeat("x", 249) },
		`the type "9p" is not one of ext4`:        func(m *lkl.Mount) { m.Type = "9p" },
		`the device "a/b" must be`:                func(m *lkl.Mount) { m.Device = "a/b" },
		`the device "" must be`:                   func(m *lkl.Mount) { m.Device = "" },
		"without blanks or any of":                func(m *lkl.Mount) { m.Options = `ro, "rw"` },
		"options have 255 bytes, 1 more than 254": func(m *lkl.Mount) { m.Options = strings.Repeat("x", 255) },
	} {
		m := lkl.Mount{Device: "0", Path: "/data", Type: lkl.HostFS}
		change(&m)
		err := lkl.Config{Mounts: []lkl.Mount{m}}.Validate(filesFeatures)
		must.ErrorIs(t, err, lkl.ErrConfig)
		must.ErrorContains(t, err, "mount 1: ")
		must.ErrorContains(t, err, says)
	}
}

func TestConfig_MountsDependOnTheGuest(t *testing.T) {
	many := func(n int, kind string) lkl.Config {
		return lkl.Config{Mounts: slices.Repeat([]lkl.Mount{{Device: "0", Path: "/data", Type: kind}}, n)}
	}
	must.NoError(t, many(lkl.MaxMounts, lkl.HostFS).Validate(filesFeatures))
	must.ErrorContains(t, many(lkl.MaxMounts+1, lkl.HostFS).Validate(filesFeatures), "65 mounts, 1 more than 64")
	must.NoError(t, many(16, "ext4").Validate(unikernel.FeatureConfig))
	must.ErrorContains(t, many(17, "ext4").Validate(unikernel.FeatureConfig), "17 mounts, 1 more than 16")
	must.ErrorContains(t, many(1, "").Validate(0), "need the feature config")
	for _, kind := range []string{lkl.HostFS, lkl.TmpFS} {
		must.ErrorContains(t, many(1, kind).Validate(unikernel.FeatureConfig), "needs the feature files")
	}
}

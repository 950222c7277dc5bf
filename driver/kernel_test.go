// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"strings"
	"testing"

	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
)

func TestKernel_CheckComparesJobAndManifest(t *testing.T) {
	block := func(name string) unikernel.Device { return unikernel.Device{Name: name, Type: unikernel.Block} }
	net := func(name string) unikernel.Device { return unikernel.Device{Name: name, Type: unikernel.Net} }
	bridge := &drivers.NetworkIsolationSpec{Mode: drivers.NetIsolationModeGroup, Path: "/run/netns/a"}
	host := &drivers.NetworkIsolationSpec{Mode: drivers.NetIsolationModeHost}
	root, inSrv := TaskConfig{Rootfs: "local/root"}, TaskConfig{Rootfs: "local/root", WorkDir: "/srv"}
	flushed := TaskConfig{Rootfs: "local/root", RootfsSync: syncFlush}
	through := TaskConfig{Rootfs: "local/root", RootfsSync: syncWriteThrough}
	lkl := []unikernel.Device{block("rootfs"), net("tap"), net("control")}
	const lklConfig = unikernel.FeatureConfig
	cases := []struct {
		name     string
		manifest []unikernel.Device
		features unikernel.Features
		job      TaskConfig
		network  *drivers.NetworkIsolationSpec
		wrong    []string
	}{
		{name: "no device"},
		{name: "no device, bridge", network: bridge},
		{name: "lkl", manifest: []unikernel.Device{block("rootfs"), net("tap")}, job: root, network: bridge},
		{name: "lkl with control", manifest: lkl, job: root, network: bridge},
		{name: "any block device", manifest: []unikernel.Device{block("storage")}, job: root},
		{name: "lkl with a root of another name", manifest: []unikernel.Device{block("storage")}, features: lklConfig, job: root},
		{name: "legacy lkl with a root of another name", manifest: []unikernel.Device{block("storage")}, job: TaskConfig{Rootfs: "local/root", Flavor: "lkl"}, wrong: []string{"kernel"}},
		{name: "lkl without a root", features: lklConfig, wrong: []string{"kernel"}},
		{name: "control alone", manifest: []unikernel.Device{net("control")}},
		{name: "a block device called control", manifest: []unikernel.Device{block("control")}, job: root},
		{name: "rootfs without a device", job: root, wrong: []string{"rootfs"}},
		{name: "a device without rootfs", manifest: []unikernel.Device{block("rootfs")}, wrong: []string{"rootfs"}},
		{name: "two disks", manifest: []unikernel.Device{block("rootfs"), block("data")}, job: root, wrong: []string{"kernel"}},
		{name: "net in host mode", manifest: []unikernel.Device{net("tap")}, network: host, wrong: []string{"network"}},
		{name: "net without a network", manifest: []unikernel.Device{net("tap")}, wrong: []string{"network"}},
		{name: "two nets", manifest: []unikernel.Device{net("tap"), net("net1")}, network: bridge, wrong: []string{"kernel"}},
		{name: "work_dir for legacy lkl", manifest: []unikernel.Device{block("rootfs"), net("tap")}, job: inSrv, network: bridge, wrong: []string{"work_dir"}},
		{name: "work_dir for an lkl with control", manifest: lkl, job: inSrv, network: bridge, wrong: []string{"work_dir"}},
		{name: "work_dir with the feature", manifest: lkl, features: lklConfig | unikernel.FeatureProgram, job: inSrv, network: bridge},
		{name: "work_dir with the feature flush", manifest: lkl, features: lklConfig | unikernel.FeatureFlush, job: inSrv, network: bridge, wrong: []string{"work_dir"}},
		{name: "flush for legacy lkl", manifest: []unikernel.Device{block("rootfs"), net("tap")}, job: flushed, network: bridge, wrong: []string{"rootfs_sync"}},
		{name: "flush for an lkl with control", manifest: lkl, job: flushed, network: bridge, wrong: []string{"rootfs_sync"}},
		{name: "flush with the feature", manifest: []unikernel.Device{block("rootfs")}, features: lklConfig | unikernel.FeatureFlush, job: flushed},
		{name: "flush with the feature transfer", manifest: lkl, features: lklConfig | unikernel.FeatureTransfer, job: flushed, network: bridge, wrong: []string{"rootfs_sync"}},
		{name: "flush for another guest", manifest: []unikernel.Device{block("disk")}, job: flushed, wrong: []string{"rootfs_sync"}},
		{name: "write-through for any guest", manifest: []unikernel.Device{block("disk")}, job: through},
		{name: "sysctl for lkl", manifest: lkl, job: TaskConfig{Rootfs: "local/root", KernelLog: true, Sysctl: []map[string]string{{"vm.swappiness": "0"}}}, network: bridge},
		{name: "sysctl with a bad name", manifest: lkl, job: TaskConfig{Rootfs: "local/root", Sysctl: []map[string]string{{"a b": "0"}}}, network: bridge, wrong: []string{"sysctl"}},
		{name: "sysctl for another guest", job: TaskConfig{KernelLog: true, Sysctl: []map[string]string{{"vm.swappiness": "0"}}}, wrong: []string{"sysctl", "kernel_log"}},
		{name: "ports and no net", job: TaskConfig{Ports: []string{"http"}}, network: bridge, wrong: []string{"ports"}},
		{
			name:     "everything",
			manifest: []unikernel.Device{block("a"), block("b"), net("c")},
			wrong:    []string{"kernel", "network"},
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			task := plainTask()
			task.NetworkIsolation = c.network
			k := kernelInfo{image: &unikernel.Info{
				Manifest: c.manifest, Features: c.features, Entry: 0x100000, End: 0x101000,
				Segments: []unikernel.Segment{{Addr: 0x100000, Start: 0x100000, MemSize: 0x1000, End: 0x101000}},
			}}
			if k.flavor = unikernel.Flavor(c.job.Flavor); k.flavor == "" {
				k.flavor = k.image.Flavor()
			}
			must.Eq(t, c.wrong, fields(k.check(job{task: task, config: c.job})))
		})
	}
}

func TestKernel_FlushesADiskWithTheLongestName(t *testing.T) {
	k := kernelInfo{flavor: unikernel.FlavorLKL, image: &unikernel.Info{
		Manifest: []unikernel.Device{{Name: strings.Repeat("d", unikernel.MaxDeviceName), Type: unikernel.Block}},
		Features: unikernel.FeatureConfig | unikernel.FeatureFlush, Entry: 0x100000, End: 0x101000,
		Segments: []unikernel.Segment{{Addr: 0x100000, Start: 0x100000, MemSize: 0x1000, End: 0x101000}},
	}}
	must.NoError(t, k.check(job{task: plainTask(), config: TaskConfig{Rootfs: "local/root", RootfsSync: syncFlush}}))
}

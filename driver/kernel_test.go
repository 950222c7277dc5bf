// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"strings"
	"testing"

	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
)

func blockEntry(name string) unikernel.Device {
	return unikernel.Device{Name: name, Type: unikernel.Block}
}

func netEntry(name string) unikernel.Device {
	return unikernel.Device{Name: name, Type: unikernel.Net}
}

var (
	groupNetwork = &drivers.NetworkIsolationSpec{Mode: drivers.NetIsolationModeGroup, Path: "/run/netns/a"}
	hostNetwork  = &drivers.NetworkIsolationSpec{Mode: drivers.NetIsolationModeHost}

	withRoot         = TaskConfig{Rootfs: "local/root"}
	withWorkDir      = TaskConfig{Rootfs: "local/root", WorkDir: "/srv"}
	withOptions      = TaskConfig{Rootfs: "local/root", StackSize: "1MiB", RootfsOptions: "noatime"}
	withStack        = TaskConfig{Rootfs: "local/root", StackSize: "33MiB"}
	withFlush        = TaskConfig{Rootfs: "local/root", RootfsSync: syncFlush}
	withWriteThrough = TaskConfig{Rootfs: "local/root", RootfsSync: syncWriteThrough}

	twoDisks   = []unikernel.Device{blockEntry("disk"), blockEntry("data")}
	lklDevices = []unikernel.Device{blockEntry("rootfs"), netEntry("tap"), netEntry("control")}
)

// withDisk returns a job with a disk "data" besides the root.
func withDisk(disk DiskConfig) TaskConfig {
	return TaskConfig{Rootfs: "local/root", Disks: map[string]DiskConfig{"data": disk}}
}

var (
	tapOnly     = []unikernel.Device{netEntry("tap")}
	hostAllowed = Config{HostNetwork: HostNetwork{Enabled: true}}
)

func withInterface(device, name string) TaskConfig {
	return TaskConfig{Interfaces: map[string]InterfaceConfig{device: {Name: name}}}
}

var kernelCases = []struct {
	name     string
	manifest []unikernel.Device
	features unikernel.Features
	job      TaskConfig
	network  *drivers.NetworkIsolationSpec
	plugin   Config
	wrong    []string
}{
	{name: "no device"},
	{name: "no device, bridge", network: groupNetwork},
	{name: "lkl", manifest: []unikernel.Device{blockEntry("rootfs"), netEntry("tap")}, job: withRoot, network: groupNetwork},
	{name: "lkl with control", manifest: lklDevices, job: withRoot, network: groupNetwork},
	{name: "any block device", manifest: []unikernel.Device{blockEntry("storage")}, job: withRoot},
	{name: "lkl with a root of another name", manifest: []unikernel.Device{blockEntry("storage")}, features: unikernel.FeatureConfig, job: withRoot},
	{name: "legacy lkl with a root of another name", manifest: []unikernel.Device{blockEntry("storage")}, job: TaskConfig{Rootfs: "local/root", Flavor: "lkl"}, wrong: []string{"kernel"}},
	{name: "lkl without a root", features: unikernel.FeatureConfig, wrong: []string{"kernel"}},
	{name: "control alone", manifest: []unikernel.Device{netEntry("control")}},
	{name: "a block device called control", manifest: []unikernel.Device{blockEntry("control")}, job: withRoot},
	{name: "rootfs without a device", job: withRoot, wrong: []string{"rootfs"}},
	{name: "a device without rootfs", manifest: []unikernel.Device{blockEntry("rootfs")}, wrong: []string{"rootfs"}},
	{name: "two disks", manifest: []unikernel.Device{blockEntry("rootfs"), blockEntry("data")}, job: withRoot, wrong: []string{"kernel"}},
	{name: "net in host mode", manifest: tapOnly, network: hostNetwork, plugin: hostAllowed},
	{name: "net without a network", manifest: tapOnly, plugin: hostAllowed},
	{name: "host mode is forbidden", manifest: tapOnly, network: hostNetwork, wrong: []string{"network"}},
	{name: "host mode is forbidden, but without an effect", manifest: tapOnly, job: TaskConfig{NetworkMode: "none"}},
	{name: "shared in host mode", manifest: tapOnly, job: TaskConfig{NetworkMode: "shared"}, plugin: hostAllowed, wrong: []string{"network_mode"}},
	{name: "l2 in host mode", manifest: tapOnly, job: TaskConfig{NetworkMode: "l2"}, plugin: hostAllowed, wrong: []string{"network_mode"}},
	{name: "labels in host mode", manifest: tapOnly, job: TaskConfig{Ports: []string{"http", "admin"}}, plugin: hostAllowed},
	{
		name: "numbers in host mode", manifest: tapOnly, job: TaskConfig{Ports: []string{"9001", "http", "53/udp"}}, plugin: hostAllowed,
		wrong: []string{"ports", "ports"},
	},
	{name: "interface in host mode", manifest: tapOnly, job: withInterface("tap", "eth1"), plugin: hostAllowed, wrong: []string{"interface.tap"}},
	{name: "nowhere in host mode", manifest: tapOnly, job: withInterface("tap", "none"), plugin: hostAllowed},
	{name: "ports without a network", manifest: tapOnly, job: TaskConfig{NetworkMode: "none", Ports: []string{"http"}}, wrong: []string{"ports"}},
	{
		name: "ports without a connected device", manifest: tapOnly, network: groupNetwork,
		job:   TaskConfig{Ports: []string{"http"}, Interfaces: map[string]InterfaceConfig{"tap": {Name: "none"}}},
		wrong: []string{"ports"},
	},
	{
		name: "ports with a second device", manifest: []unikernel.Device{netEntry("tap"), netEntry("net1")}, network: groupNetwork,
		job: TaskConfig{Ports: []string{"http"}, Interfaces: map[string]InterfaceConfig{"tap": {Name: "none"}, "net1": {Name: "eth0"}}},
	},
	{name: "two nets", manifest: []unikernel.Device{netEntry("tap"), netEntry("net1")}, network: groupNetwork},
	{name: "interface", manifest: tapOnly, job: withInterface("tap", "eth1"), network: groupNetwork},
	{name: "interface for another device", manifest: tapOnly, job: withInterface("tap2", "eth1"), network: groupNetwork, wrong: []string{"interface.tap2"}},
	{name: "interface without a device", job: withInterface("tap", "eth1"), network: groupNetwork, wrong: []string{"interface.tap"}},
	{name: "interface for control", manifest: lklDevices, job: withInterface("control", "eth1"), network: groupNetwork, wrong: []string{"rootfs", "interface.control"}},
	{name: "work_dir for legacy lkl", manifest: []unikernel.Device{blockEntry("rootfs"), netEntry("tap")}, job: withWorkDir, network: groupNetwork, wrong: []string{"work_dir"}},
	{name: "work_dir for an lkl with control", manifest: lklDevices, job: withWorkDir, network: groupNetwork, wrong: []string{"work_dir"}},
	{name: "work_dir with the feature", manifest: lklDevices, features: unikernel.FeatureConfig | unikernel.FeatureProgram, job: withWorkDir, network: groupNetwork},
	{name: "work_dir with the feature flush", manifest: lklDevices, features: unikernel.FeatureConfig | unikernel.FeatureFlush, job: withWorkDir, network: groupNetwork, wrong: []string{"work_dir"}},
	{name: "flush for legacy lkl", manifest: []unikernel.Device{blockEntry("rootfs"), netEntry("tap")}, job: withFlush, network: groupNetwork, wrong: []string{"rootfs_sync"}},
	{name: "flush for an lkl with control", manifest: lklDevices, job: withFlush, network: groupNetwork, wrong: []string{"rootfs_sync"}},
	{name: "flush with the feature", manifest: []unikernel.Device{blockEntry("rootfs")}, features: unikernel.FeatureConfig | unikernel.FeatureFlush, job: withFlush},
	{name: "flush with the feature transfer", manifest: lklDevices, features: unikernel.FeatureConfig | unikernel.FeatureTransfer, job: withFlush, network: groupNetwork, wrong: []string{"rootfs_sync"}},
	{name: "flush for another guest", manifest: []unikernel.Device{blockEntry("disk")}, job: withFlush, wrong: []string{"rootfs_sync"}},
	{name: "write-through for any guest", manifest: []unikernel.Device{blockEntry("disk")}, job: withWriteThrough},
	{name: "sysctl for lkl", manifest: lklDevices, job: TaskConfig{Rootfs: "local/root", KernelLog: true, Sysctl: []map[string]string{{"vm.swappiness": "0"}}}, network: groupNetwork},
	{name: "sysctl with a bad name", manifest: lklDevices, job: TaskConfig{Rootfs: "local/root", Sysctl: []map[string]string{{"a b": "0"}}}, network: groupNetwork, wrong: []string{"sysctl"}},
	{name: "stack", manifest: lklDevices, features: unikernel.FeatureConfig, job: withOptions, network: groupNetwork},
	{name: "large stack", manifest: lklDevices, features: unikernel.FeatureConfig, job: withStack, network: groupNetwork, wrong: []string{"stack_size"}},
	{name: "options for legacy lkl", manifest: []unikernel.Device{blockEntry("rootfs"), netEntry("tap")}, job: withOptions, network: groupNetwork, wrong: []string{"rootfs_options", "stack_size"}},
	{name: "options for another guest", job: TaskConfig{StackSize: "1MiB"}, wrong: []string{"stack_size"}},
	{name: "sysctl for another guest", job: TaskConfig{KernelLog: true, Sysctl: []map[string]string{{"vm.swappiness": "0"}}}, wrong: []string{"sysctl", "kernel_log"}},
	{name: "ports and no net", job: TaskConfig{Ports: []string{"http"}}, network: groupNetwork, wrong: []string{"ports"}},
	{name: "bandwidth and no net", job: TaskConfig{Bandwidth: &BandwidthConfig{Ingress: "1mbit"}}, wrong: []string{"bandwidth"}},
	{
		name: "host names for another guest", job: TaskConfig{Hostname: "a", ExtraHosts: []string{"b:10.0.0.1"}},
		wrong: []string{"hostname", "extra_hosts"},
	},
	{name: "disk of the manifest", manifest: twoDisks, job: withDisk(DiskConfig{})},
	{name: "disk before the root", manifest: []unikernel.Device{blockEntry("data"), blockEntry("rootfs")}, features: unikernel.FeatureConfig, job: withDisk(DiskConfig{})},
	{name: "no disk for a device", manifest: twoDisks, job: withRoot, wrong: []string{"kernel"}},
	{name: "disk for the root", manifest: []unikernel.Device{blockEntry("rootfs")}, features: unikernel.FeatureConfig, job: TaskConfig{Rootfs: "r", Disks: map[string]DiskConfig{"rootfs": {}}}, wrong: []string{"disk.rootfs"}},
	{name: "disk beyond the manifest", manifest: []unikernel.Device{blockEntry("rootfs")}, features: unikernel.FeatureConfig | unikernel.FeatureDevices, job: withDisk(DiskConfig{Mount: "/data"})},
	{name: "disk without the feature", manifest: []unikernel.Device{blockEntry("rootfs")}, features: unikernel.FeatureConfig, job: withDisk(DiskConfig{}), wrong: []string{"disk.data"}},
	{name: "disk on a net device", manifest: []unikernel.Device{blockEntry("rootfs"), netEntry("data")}, features: unikernel.FeatureConfig | unikernel.FeatureDevices, job: withDisk(DiskConfig{}), network: groupNetwork, wrong: []string{"disk.data"}},
	{name: "mount for legacy lkl", manifest: []unikernel.Device{blockEntry("rootfs"), blockEntry("data"), netEntry("tap")}, job: withDisk(DiskConfig{Mount: "/data"}), network: groupNetwork, wrong: []string{"disk.data.mount"}},
	{name: "mount and flush for another guest", manifest: twoDisks, job: withDisk(DiskConfig{Mount: "/data", Sync: syncFlush}), wrong: []string{"disk.data.mount", "disk.data.sync"}},
	{name: "only disks for another guest", manifest: []unikernel.Device{blockEntry("data")}, job: TaskConfig{Disks: map[string]DiskConfig{"data": {}}}},
	{name: "read-only root for legacy lkl", manifest: []unikernel.Device{blockEntry("rootfs"), netEntry("tap")}, job: TaskConfig{Rootfs: "r", RootfsReadOnly: true}, network: groupNetwork, wrong: []string{"rootfs_read_only"}},
	{
		name:     "everything",
		manifest: []unikernel.Device{blockEntry("a"), blockEntry("b"), netEntry("c")},
		job:      TaskConfig{NetworkMode: "l2", Ports: []string{"80"}, Interfaces: map[string]InterfaceConfig{"c": {Name: "eth0"}, "d": {Name: "none"}}},
		wrong:    []string{"rootfs", "kernel", "interface.c", "interface.d", "network", "ports"},
	},
}

func TestKernel_CheckComparesJobAndManifest(t *testing.T) {
	for _, c := range kernelCases {
		t.Run(c.name, func(t *testing.T) {
			task := plainTask()
			task.NetworkIsolation = c.network
			k := kernelInfo{elf: &unikernel.Info{
				Manifest: c.manifest, Features: c.features, Entry: 0x100000, End: 0x101000,
				Segments: []unikernel.Segment{{Addr: 0x100000, Start: 0x100000, MemSize: 0x1000, End: 0x101000}},
			}}
			if k.flavor = unikernel.Flavor(c.job.Flavor); k.flavor == "" {
				k.flavor = k.elf.Flavor()
			}
			must.Eq(t, c.wrong, fields(k.check(job{task: task, config: c.job, program: jobProgram(&c.job, task)}, &c.plugin)))
		})
	}
}

func TestKernel_FlushesADiskWithTheLongestName(t *testing.T) {
	k := kernelInfo{flavor: unikernel.FlavorLKL, elf: &unikernel.Info{
		Manifest: []unikernel.Device{{Name: strings.Repeat("d", unikernel.MaxDeviceName), Type: unikernel.Block}},
		Features: unikernel.FeatureConfig | unikernel.FeatureFlush, Entry: 0x100000, End: 0x101000,
		Segments: []unikernel.Segment{{Addr: 0x100000, Start: 0x100000, MemSize: 0x1000, End: 0x101000}},
	}}
	must.NoError(t, k.check(job{task: plainTask(), config: TaskConfig{Rootfs: "local/root", RootfsSync: syncFlush}}, &Config{}))
}

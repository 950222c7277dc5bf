// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/hashicorp/nomad/nomad/structs"
	"github.com/hashicorp/nomad/plugins/base"
	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"
)

func TestConfig_Validate(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	must.NoError(t, os.WriteFile(file, nil, 0o600))
	cases := []struct {
		name   string
		config Config
		wrong  []string // fields, in order
	}{
		{"defaults", Config{StateDir: DefaultStateDir}, nil},
		{"allowed paths", Config{StateDir: "/a", ImagePaths: []string{"/srv", "/missing"}}, nil},
		{"relative state_dir", Config{StateDir: "state"}, []string{"state_dir"}},
		{"wrong max_rootfs_size", Config{StateDir: "/a", MaxRootfsSize: "10 apples"}, []string{"max_rootfs_size"}},
		{"empty state_dir", Config{}, []string{"state_dir"}},
		{"state_dir is a file", Config{StateDir: file}, []string{"state_dir"}},
		{"start_timeout", Config{StateDir: "/a", StartTimeout: "90s"}, nil},
		{"start_timeout without a unit", Config{StateDir: "/a", StartTimeout: "90"}, []string{"start_timeout"}},
		{"start_timeout of zero", Config{StateDir: "/a", StartTimeout: "0s"}, []string{"start_timeout"}},
		{"block_metadata", Config{StateDir: "/a", BlockMetadata: "always"}, nil},
		{"unknown block_metadata", Config{StateDir: "/a", BlockMetadata: "yes"}, []string{"block_metadata"}},
		{"volumes", Config{StateDir: "/a", Volumes: Volumes{Enabled: true, Paths: []string{"/srv", "/missing"}}}, nil},
		{"volumes without paths", Config{StateDir: "/a", Volumes: Volumes{Enabled: true}}, []string{"volumes.paths"}},
		{"wrong volumes", Config{StateDir: "/a", Volumes: Volumes{Paths: []string{"srv", file}}}, []string{"volumes.paths[0]", "volumes.paths[1]"}},
		{"negative start_timeout", Config{StateDir: "/a", StartTimeout: "-5m"}, []string{"start_timeout"}},
		{"host_network", Config{StateDir: "/a", HostNetwork: HostNetwork{Subnet: "10.1.0.0/16", Subnet6: "fd00:1::/64"}}, nil},
		{"small host_network", Config{StateDir: "/a", HostNetwork: HostNetwork{Subnet: "10.1.0.0/22", Subnet6: "fd00:1::/118"}}, nil},
		{
			"too small host_network",
			Config{StateDir: "/a", HostNetwork: HostNetwork{Subnet: "10.1.0.0/23", Subnet6: "fd00:1::/119"}},
			[]string{"host_network.subnet", "host_network.subnet6"},
		},
		{
			"swapped host_network",
			Config{StateDir: "/a", HostNetwork: HostNetwork{Subnet: "fd00:1::/64", Subnet6: "10.1.0.0/16"}},
			[]string{"host_network.subnet", "host_network.subnet6"},
		},
		{
			"wrong host_network",
			Config{StateDir: "/a", HostNetwork: HostNetwork{Subnet: "10.1.0.1/16", Subnet6: "::ffff:10.1.0.0/104"}},
			[]string{"host_network.subnet", "host_network.subnet6"},
		},
		{
			"host_network of loopback",
			Config{StateDir: "/a", HostNetwork: HostNetwork{Subnet: "127.16.0.0/16", Subnet6: "::/64"}},
			[]string{"host_network.subnet", "host_network.subnet6"},
		},
		{
			"host_network of multicast",
			Config{StateDir: "/a", HostNetwork: HostNetwork{Subnet: "224.0.0.0/3", Subnet6: "ff05::/64"}},
			[]string{"host_network.subnet", "host_network.subnet6"},
		},
		{
			"host_network of link-local",
			Config{StateDir: "/a", HostNetwork: HostNetwork{Subnet: "169.254.0.0/16", Subnet6: "fe80::/64"}},
			[]string{"host_network.subnet", "host_network.subnet6"},
		},
		{
			"host_network of everything",
			Config{StateDir: "/a", HostNetwork: HostNetwork{Subnet: "0.0.0.0/0", Subnet6: "::/0"}},
			[]string{"host_network.subnet", "host_network.subnet6"},
		},
		{
			"registries", Config{
				StateDir: "/a", Auth: ClientAuth{Config: "/root/.docker/config.json", Helper: "ecr-login"},
				Registries: []Registry{{Host: "localhost:5000", PlainHTTP: true}, {Host: "localhost", SkipVerify: true}},
			}, nil,
		},
		{
			"everything",
			Config{
				StateDir: "x", ImagePaths: []string{"/srv", "images", file},
				Auth: ClientAuth{Config: "config.json", Helper: "../helper"},
				Registries: []Registry{
					{Host: "a.example", CAFile: "ca.pem"},
					{Host: "b.example", PlainHTTP: true, SkipVerify: true},
					{Host: "b.example"},
					{Host: "a registry"},
					{Host: "c.example", CAFile: file},
					{Host: "http://d.example", PlainHTTP: true, CAFile: "ca.pem"},
				},
				ImageGC: ImageGC{MaxAge: "-1h", MaxSize: "big"},
			},
			[]string{
				"state_dir", "image_paths[1]", "image_paths[2]", "auth.config", "auth.helper",
				"registry[0]", "registry[1]", "registry[2]", "registry[3]", "registry[4]",
				"registry[5]", "registry[5]", "registry[5]", "image_gc.max_age", "image_gc.max_size",
			},
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			must.Eq(t, c.wrong, fields(c.config.validate()))
		})
	}
}

func TestConfig_NamesTheNetworkOfAnAddress(t *testing.T) {
	_, err := HostNetwork{Subnet: "198.18.0.1/16"}.subnet()
	must.ErrorContains(t, err, `"198.18.0.1/16" has bits beyond its prefix: write "198.18.0.0/16"`)
}

var fieldName = regexp.MustCompile(`^([a-z0-9_.]+(?:\[\d+\][a-z0-9_.]*)?): `)

// fields returns the fields that a configuration error names, in order.
func fields(err error) []string {
	if err == nil {
		return nil
	}
	_, list, _ := strings.Cut(err.Error(), "config: ")
	var names []string
	for part := range strings.SplitSeq(list, "; ") {
		if match := fieldName.FindStringSubmatch(part); match != nil {
			names = append(names, match[1])
		}
	}
	return names
}

// plainTask returns a task of 64 MiB with two ports.
func plainTask() *drivers.TaskConfig {
	return &drivers.TaskConfig{
		ID: "alloc/task/1", AllocID: "0a1b2c3d-0000-0000-0000-000000000000", Name: "task",
		Resources: &drivers.Resources{
			LinuxResources: &drivers.LinuxResources{MemoryLimitBytes: 64 << 20},
			Ports:          &structs.AllocatedPorts{{Label: "http", Value: 23456, To: 8080}, {Label: "admin", Value: 23457}},
		},
	}
}

// changedTask returns plainTask with a change.
func changedTask(change func(*drivers.TaskConfig)) *drivers.TaskConfig {
	task := plainTask()
	change(task)
	return task
}

var taskConfigCases = []struct {
	name  string
	job   TaskConfig
	task  *drivers.TaskConfig
	wrong []string
}{
	{name: "minimal", job: TaskConfig{Kernel: "local/k"}},
	{name: "all options", job: TaskConfig{
		Kernel: "/srv/k", Rootfs: "alloc/data/root.tar", RootfsSize: "1GiB", RootfsSync: "write-through",
		Args:   []string{"a b", "", "ü\n"},
		Flavor: "lkl", Tender: "spt", Ports: []string{"admin", "http"},
	}},
	{name: "neither image nor kernel", job: TaskConfig{}, wrong: []string{"image"}},
	{name: "image", job: TaskConfig{Image: "registry.example.com/web:1.0"}},
	{name: "image with all of its options", job: TaskConfig{
		Image: "web@sha256:" + strings.Repeat("0", 64), Kernel: "/web.spt", Entrypoint: []string{"/web.spt"},
		Auth: &TaskAuth{Username: "robot", Password: "x"}, ImagePullPolicy: "never", ImagePullTimeout: "90s",
		RootfsSize: "1GiB", RootfsSync: syncWriteThrough,
	}, task: changedTask(func(c *drivers.TaskConfig) { c.User = "www:users" })},
	{name: "image from a file", job: TaskConfig{Image: "docker-archive:local/web.tar"}},
	{name: "image from a layout on the host", job: TaskConfig{Image: "oci:/srv/images/web:1.0"}},
	{name: "image out of the directory", job: TaskConfig{Image: "oci-archive:local/../../web.tar"}, wrong: []string{"image"}},
	{name: "not a reference", job: TaskConfig{Image: "https://example.com/web"}, wrong: []string{"image"}},
	{name: "image and rootfs", job: TaskConfig{Image: "web", Rootfs: "local/root"}, wrong: []string{"rootfs"}},
	{name: "credentials for a file", job: TaskConfig{
		Image: "oci:local/web", Auth: &TaskAuth{Username: "robot", Password: "x"},
	}, wrong: []string{"auth"}},
	{name: "options of an image without one", job: TaskConfig{
		Kernel: "k", Entrypoint: []string{"k"}, Auth: &TaskAuth{}, ImagePullPolicy: "never", ImagePullTimeout: "1m",
	}, wrong: []string{"entrypoint", "auth", "image_pull_policy", "image_pull_timeout"}},
	{name: "everything wrong with an image", job: TaskConfig{
		Image: "a b", Kernel: "\x00", Rootfs: "../r", Entrypoint: []string{"x", "\x00"},
		Auth: &TaskAuth{}, ImagePullPolicy: "often", ImagePullTimeout: "5",
	}, wrong: []string{
		"image", "kernel", "rootfs", "entrypoint[1]", "auth.username", "auth.password", "image_pull_policy", "image_pull_timeout",
	}},
	{name: "out of the directory", job: TaskConfig{Kernel: "../k"}, wrong: []string{"kernel"}},
	{name: "out of the directory by a detour", job: TaskConfig{Kernel: "local/../../k"}, wrong: []string{"kernel"}},
	{name: "the directory itself", job: TaskConfig{Kernel: "k", Rootfs: "."}, wrong: []string{"rootfs"}},
	{name: "reserved by Nomad", job: TaskConfig{Kernel: "private/vault_token"}, wrong: []string{"kernel"}},
	{name: "NUL byte", job: TaskConfig{Kernel: "k\x00", Args: []string{"\x00"}}, wrong: []string{"kernel", "args[0]"}},
	{name: "exec heap", job: TaskConfig{Kernel: "k", ExecHeap: true}, wrong: []string{"exec_heap"}},
	{name: "options of the guest", job: TaskConfig{Kernel: "k", Rootfs: "r", StackSize: "64KiB", RootfsOptions: "noatime,barrier=0"}},
	{name: "options without rootfs", job: TaskConfig{Kernel: "k", RootfsOptions: "ro"}, wrong: []string{"rootfs_options"}},
	{name: "options with a blank", job: TaskConfig{Kernel: "k", Rootfs: "r", RootfsOptions: "ro, noatime"}, wrong: []string{"rootfs_options"}},
	{name: "options with a quote", job: TaskConfig{Kernel: "k", Rootfs: "r", RootfsOptions: `ro","uid":"0`}, wrong: []string{"rootfs_options"}},
	{name: "options with a newline", job: TaskConfig{Kernel: "k", Rootfs: "r", RootfsOptions: "ro\nnoatime"}, wrong: []string{"rootfs_options"}},
	{name: "long options", job: TaskConfig{Kernel: "k", Rootfs: "r", RootfsOptions: strings.Repeat("x", 255)}, wrong: []string{"rootfs_options"}},
	{
		name: "useless flush", job: TaskConfig{Kernel: "k", Rootfs: "r", RootfsSync: syncFlush, RootfsOptions: "nobarrier,ro,barrier=0"},
		wrong: []string{"rootfs_options", "rootfs_options"},
	},
	{name: "useless flush by default", job: TaskConfig{Kernel: "k", Rootfs: "r", RootfsPersist: "alloc/data/root", RootfsOptions: "nobarrier"}, wrong: []string{"rootfs_options"}},
	{name: "small stack", job: TaskConfig{Kernel: "k", StackSize: "63KiB"}, wrong: []string{"stack_size"}},
	{name: "no stack", job: TaskConfig{Kernel: "k", StackSize: "eight"}, wrong: []string{"stack_size"}},
	{name: "sync without rootfs", job: TaskConfig{Kernel: "k", RootfsSync: syncFlush}, wrong: []string{"rootfs_sync"}},
	{name: "size without rootfs", job: TaskConfig{Kernel: "k", RootfsSize: "1G"}, wrong: []string{"rootfs_size"}},
	{name: "ports by number", job: TaskConfig{Kernel: "k", Ports: []string{"9001", "9000/tcp", "9002-9010", "9000/udp", "http/tcp", "http/udp", "1", "65535"}}},
	{
		name: "wrong ports", job: TaskConfig{Kernel: "k", Ports: []string{
			"0", "65536", "9010-9000", "-", "9000-", "53/sctp", "/udp", "", "9001", "9000-9010", "9001/udp", "9011/udp", "https/tcp", "http", "http/tcp",
		}},
		wrong: []string{
			"ports[0]", "ports[1]", "ports[2]", "ports[3]", "ports[4]", "ports[5]", "ports[6]", "ports[7]", "ports[9]", "ports[10]", "ports[12]", "ports[14]",
		},
	},
	{name: "network modes", job: TaskConfig{Kernel: "k", NetworkMode: "shared"}},
	{name: "unknown network mode", job: TaskConfig{Kernel: "k", NetworkMode: "bridge"}, wrong: []string{"network_mode"}},
	{
		name: "interfaces", job: TaskConfig{Kernel: "k", Interfaces: map[string]InterfaceConfig{
			"a": {Name: "eth0"}, "b": {Name: "none"}, "c": {Name: "none"}, "d": {Name: "a-name_of.15byt"},
		}},
	},
	{
		name: "wrong interfaces", job: TaskConfig{Kernel: "k", Interfaces: map[string]InterfaceConfig{
			"a": {Name: ""}, "b": {Name: "lo"}, "c": {Name: "eth0"}, "d": {Name: "eth0"}, "e": {Name: "../eth1"}, "f": {Name: "a-name-of-16-byt"}, "g": {Name: "eth 1"},
		}},
		wrong: []string{"interface.a.name", "interface.b.name", "interface.d.name", "interface.e.name", "interface.f.name", "interface.g.name"},
	},
	{
		name: "disks", job: TaskConfig{Kernel: "k", Disks: map[string]DiskConfig{
			"a": {Size: "1GiB"}, "b": {Source: "alloc/data/image", Mount: "/data", Options: "noatime"},
			"c": {Source: "/alloc/data/image", ReadOnly: true}, "d": {Source: "local/image", Size: "1", Sync: syncFlush},
		}},
	},
	{
		name: "wrong disks", job: TaskConfig{Kernel: "k", Disks: map[string]DiskConfig{
			"a": {}, "b": {Size: "1023K"}, "c": {Size: "1TiB"}, "d": {Size: "x", ReadOnly: true}, "e_": {Size: "1"},
			"f": {Size: "1", Mount: "data"}, "g": {Size: "1", Mount: "/x"}, "h": {Size: "1", Mount: "/x/"}, "i": {Size: "1", Options: "noatime"},
			"j": {Source: "../x"}, "k": {Source: "/etc/shadow"}, "l": {Source: "alloc/../../y"}, "m": {Source: "a\x00"}, "n": {Size: "1", Sync: "always"},
			"o": {Size: "1", Mount: "/proc/x"}, "p": {Source: "private/x"},
		}},
		wrong: []string{
			"disk.a.size", "disk.b.size", "disk.c.size", "disk.d.read_only", "disk.d.size", "disk.e_", "disk.f.mount", "disk.h.mount", "disk.i.mount_options",
			"disk.j.source", "disk.k.source", "disk.l.source", "disk.m.source", "disk.n.sync", "disk.o.mount", "disk.p.source",
		},
	},
	{name: "read-only roots", job: TaskConfig{Kernel: "k", Rootfs: "r", RootfsReadOnly: true, RootfsFormat: formatISO9660}},
	{
		name: "wrong read-only roots", job: TaskConfig{Image: "web", RootfsFormat: formatISO9660, RootfsSize: "1G", RootfsPersist: "alloc/x"},
		wrong: []string{"rootfs_format", "rootfs_size", "rootfs_persist"},
	},
	{
		name: "disks of the root without rootfs", job: TaskConfig{Kernel: "k", RootfsReadOnly: true, RootfsPersist: "/etc/x", RootfsFormat: "xfs"},
		wrong: []string{"rootfs_persist", "rootfs_persist", "rootfs_format", "rootfs_persist", "rootfs_read_only"},
	},
	{name: "port twice", job: TaskConfig{Kernel: "k", Ports: []string{"http", "http"}}, wrong: []string{"ports[1]"}},
	{
		name: "everything at once",
		job: TaskConfig{
			Kernel: "../k", Rootfs: "/local/../../etc", RootfsSize: "much", RootfsSync: "always", Args: []string{"fine", "\x00"},
			Flavor: "mirage", Tender: "hvt", ExecHeap: true, Ports: []string{"http", "https"},
		},
		wrong: []string{"kernel", "rootfs_sync", "rootfs_size", "args[1]", "flavor", "tender", "exec_heap", "ports[1]"},
	},
	{
		name: "settings that unikernels do not support", job: TaskConfig{Kernel: "k"},
		task: changedTask(func(c *drivers.TaskConfig) {
			c.Devices = []*drivers.DeviceConfig{{HostPath: "/dev/null"}}
			c.User = "nobody"
			c.Resources.LinuxResources.MemoryLimitBytes = 0
		}),
		wrong: []string{"resources", "device", "user"},
	},
	{
		name: "work_dir, and a user by name", job: TaskConfig{Kernel: "k", WorkDir: "srv"},
		task:  changedTask(func(c *drivers.TaskConfig) { c.User = "1000:users" }),
		wrong: []string{"work_dir", "user"},
	},
	{
		name: "work_dir and user", job: TaskConfig{Kernel: "k", WorkDir: "/srv"},
		task: changedTask(func(c *drivers.TaskConfig) { c.User = "1000" }),
	},
	{
		name: "no ports in the group", job: TaskConfig{Kernel: "k", Ports: []string{"http"}},
		task:  changedTask(func(c *drivers.TaskConfig) { c.Resources.Ports = nil }),
		wrong: []string{"ports[0]"},
	},
	{
		name: "no resources", job: TaskConfig{Kernel: "k"},
		task:  changedTask(func(c *drivers.TaskConfig) { c.Resources = nil }),
		wrong: []string{"resources"},
	},
}

func TestTaskConfig_Validate(t *testing.T) {
	for _, c := range taskConfigCases {
		t.Run(c.name, func(t *testing.T) {
			if c.task == nil {
				c.task = plainTask()
			}
			must.Eq(t, c.wrong, fields(c.job.validate(&Config{}, c.task)))
		})
	}
}

// Only Nomad can reserve a port of the host, so the driver does not suggest numbers there.
func TestTaskConfig_SuggestsNumbersForPortsOnlyInNamespaces(t *testing.T) {
	for _, isolation := range []*drivers.NetworkIsolationSpec{nil, {Mode: drivers.NetIsolationModeGroup, Path: "/a"}} {
		for _, text := range []string{"https", "99999"} {
			task := plainTask()
			task.NetworkIsolation = isolation
			err := (&TaskConfig{Kernel: "k", Ports: []string{text}}).validate(&Config{}, task)
			must.Eq(t, []string{"ports[0]"}, fields(err))
			must.Eq(t, isolation != nil, strings.Contains(err.Error(), "9001"))
		}
	}
}

func TestTaskConfig_ExecHeapNeedsThePluginsPermission(t *testing.T) {
	job := TaskConfig{Kernel: "k", ExecHeap: true}
	must.NoError(t, job.validate(&Config{AllowExecHeap: true}, plainTask()))
}

func TestSetConfig_AcceptsNomadsThreeCalls(t *testing.T) {
	d := testDriver(t)
	var data []byte
	must.NoError(t, base.MsgPackEncode(&data, &Config{StateDir: t.TempDir(), ImagePaths: []string{"/srv"}}))
	for _, agent := range []*base.AgentConfig{nil, {}, {Driver: &base.ClientDriverConfig{}}} {
		must.NoError(t, d.SetConfig(&base.Config{PluginConfig: data, AgentConfig: agent}))
	}
	must.Eq(t, []string{"/srv"}, d.config.ImagePaths)
}

func TestSetConfig_EmptyConfigIsTheDefault(t *testing.T) {
	d := testDriver(t)
	must.NoError(t, d.SetConfig(&base.Config{}))
	must.Eq(t, DefaultStateDir, d.config.StateDir)
}

func TestSetConfig_KeepsTheOldConfigOnError(t *testing.T) {
	d := testDriver(t)
	var data []byte
	must.NoError(t, base.MsgPackEncode(&data, &Config{StateDir: "relative"}))
	must.Eq(t, []string{"state_dir"}, fields(d.SetConfig(&base.Config{PluginConfig: data})))
	must.Eq(t, DefaultStateDir, d.config.StateDir)
}

func TestConfig_BlocksMetadataOnlyInHostModeByDefault(t *testing.T) {
	for value, want := range map[string][2]bool{
		"": {true, false}, blockInHostMode: {true, false}, blockAlways: {true, true}, blockNever: {false, false},
	} {
		c := Config{BlockMetadata: value}
		must.Eq(t, want, [2]bool{c.blocksMetadata(modeHost), c.blocksMetadata(modeL2)}, must.Sprint(value))
	}
}

// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"flag"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/hashicorp/nomad/helper/pluginutils/hclutils"
	"github.com/shoenig/test/must"
)

var update = flag.Bool("update", false, "write the generated parts of docs/configuration.md")

const referencePage = "../docs/configuration.md"

func TestReferencePage_MatchesTheSchema(t *testing.T) {
	content, err := os.ReadFile(referencePage)
	must.NoError(t, err)
	page := string(content)
	for name, options := range map[string][]option{"plugin": pluginOptions, "task": taskOptions} {
		begin, end := "<!-- begin "+name+" options -->\n", "<!-- end "+name+" options -->"
		before, rest, found := strings.Cut(page, begin)
		must.True(t, found, must.Sprintf("%s lacks %q", referencePage, begin))
		table, after, found := strings.Cut(rest, end)
		must.True(t, found, must.Sprintf("%s lacks %q", referencePage, end))
		if *update {
			page = before + begin + optionTable(options) + end + after
			continue
		}
		must.Eq(t, optionTable(options), table,
			must.Sprint("the page differs from the schema: run go test ./driver -run ReferencePage -update"))
	}
	if *update {
		must.NoError(t, os.WriteFile(referencePage, []byte(page), 0o644))
	}
}

func TestTaskSchema_ParsesAJob(t *testing.T) {
	var job TaskConfig
	hclutils.NewConfigParser(schema(taskOptions)).ParseHCL(t, `
config {
  kernel      = "local/web.spt"
  rootfs      = "local/root.tar.gz"
  rootfs_size = "1GiB"
  rootfs_sync = "flush"
  rootfs_format    = "iso9660"
  rootfs_read_only = true
  rootfs_persist   = "alloc/root"
  rootfs_options = "noatime"
  stack_size  = "16MiB"
  args        = ["--port", "8080", "a b"]
  flavor      = "lkl"
  tender      = "spt"
  exec_heap   = true
  huge_pages  = true
  ports       = ["http", "9000-9010/udp"]
  network_mode = "l2"
  interface "tap2" {
    name = "eth1"
  }
  disk "data" {
    source        = "/data/image"
    size          = "2GiB"
    read_only     = true
    mount         = "/var/lib/data"
    mount_options = "noatime"
    sync          = "write-through"
  }
  disk "cache" {
    size = "100"
  }
  work_dir    = "/srv"
  kernel_log  = true
  hostname    = "web-1"
  extra_hosts = ["db:10.0.0.5"]
  bandwidth {
    egress = "100mbit"
  }
  sysctl = {
    "net.core.somaxconn" = "4096"
    "vm.swappiness"      = 0
  }
}`, &job)
	must.Eq(t, TaskConfig{
		Kernel: "local/web.spt", Rootfs: "local/root.tar.gz", RootfsSize: "1GiB", RootfsSync: "flush", RootfsFormat: formatISO9660, RootfsReadOnly: true, RootfsPersist: "alloc/root", RootfsOptions: "noatime", StackSize: "16MiB",
		Args:   []string{"--port", "8080", "a b"},
		Flavor: "lkl", Tender: "spt", ExecHeap: true, HugePages: true, Ports: []string{"http", "9000-9010/udp"}, WorkDir: "/srv",
		ImagePullTimeout: DefaultImagePullTimeout,
		NetworkMode:      "l2", Interfaces: map[string]InterfaceConfig{"tap2": {Name: "eth1"}},
		Disks: map[string]DiskConfig{
			"data":  {Source: "/data/image", Size: "2GiB", ReadOnly: true, Mount: "/var/lib/data", Options: "noatime", Sync: "write-through"},
			"cache": {Size: "100"},
		},
		Hostname: "web-1", ExtraHosts: []string{"db:10.0.0.5"}, Bandwidth: &BandwidthConfig{Egress: "100mbit"},
		KernelLog: true, Sysctl: []map[string]string{{"net.core.somaxconn": "4096", "vm.swappiness": "0"}},
		Mounts: []MountConfig{},
	}, job)
}

func TestTaskSchema_ParsesAJobWithAnImage(t *testing.T) {
	var job TaskConfig
	hclutils.NewConfigParser(schema(taskOptions)).ParseHCL(t, `
config {
  image              = "registry.example.com/team/web:1.0"
  entrypoint         = ["/web.spt", "-v"]
  image_pull_policy  = "always"
  image_pull_timeout = "90s"
  auth {
    username = "robot"
    password = "secret"
  }
}`, &job)
	must.Eq(t, TaskConfig{
		Image: "registry.example.com/team/web:1.0", Entrypoint: []string{"/web.spt", "-v"},
		ImagePullPolicy: "always", ImagePullTimeout: "90s", Auth: &TaskAuth{Username: "robot", Password: "secret"},
		RootfsFormat: formatExt4, Flavor: auto, Tender: auto,
		NetworkMode: auto, Interfaces: map[string]InterfaceConfig{}, Disks: map[string]DiskConfig{}, Mounts: []MountConfig{},
	}, job)
}

// An API client sends a job as JSON, in which a block may be an object or a list.
func TestTaskSchema_ParsesBlocksInJSON(t *testing.T) {
	for _, auth := range []string{`{"username": "robot", "password": "x"}`, `[{"username": "robot", "password": "x"}]`} {
		var job TaskConfig
		hclutils.NewConfigParser(schema(taskOptions)).ParseJson(t, `{"Config": {"image": "web", "auth": `+auth+`}}`, &job)
		must.Eq(t, &TaskAuth{Username: "robot", Password: "x"}, job.Auth)
	}
}

func TestPluginSchema_ParsesBlocks(t *testing.T) {
	var config Config
	hclutils.NewConfigParser(schema(pluginOptions)).ParseHCL(t, `
config {
  auth {
    config = "/root/.docker/config.json"
    helper = "ecr-login"
  }
  registry {
    host       = "localhost:5000"
    plain_http = true
  }
  registry {
    host        = "registry.example.com"
    skip_verify = true
    ca_file     = "/etc/ssl/ca.pem"
  }
  image_gc {
    max_age = "24h"
  }
}`, &config)
	must.Eq(t, ClientAuth{Config: "/root/.docker/config.json", Helper: "ecr-login"}, config.Auth)
	must.Eq(t, []Registry{
		{Host: "localhost:5000", PlainHTTP: true},
		{Host: "registry.example.com", SkipVerify: true, CAFile: "/etc/ssl/ca.pem"},
	}, config.Registries)
	must.Eq(t, ImageGC{Enabled: true, MaxAge: "24h", MaxSize: DefaultImageMaxSize}, config.ImageGC)
}

func TestPluginSchema_CanDisableTheGarbageCollection(t *testing.T) {
	var config Config
	hclutils.NewConfigParser(schema(pluginOptions)).ParseHCL(t, `config { image_gc { enabled = false } }`, &config)
	must.False(t, config.ImageGC.Enabled)
}

func TestPluginSchema_BlocksMetadataInHostModeByDefault(t *testing.T) {
	for text, want := range map[string]string{"": blockInHostMode, `block_metadata = "always"`: blockAlways} {
		var config Config
		hclutils.NewConfigParser(schema(pluginOptions)).ParseHCL(t, "config { "+text+" }", &config)
		must.Eq(t, want, config.BlockMetadata)
	}
}

func TestPluginSchema_CanForbidTheHostsNetwork(t *testing.T) {
	var config Config
	hclutils.NewConfigParser(schema(pluginOptions)).ParseHCL(t, `config { host_network { enabled = false } }`, &config)
	must.Eq(t, HostNetwork{Subnet: "198.18.0.0/16", Subnet6: "fd6c:6b6c:6c6b:1::/64"}, config.HostNetwork)
}

// Without ports, a task serves all ports of its group. With an empty list, it serves none.
func TestTaskSchema_KeepsAnEmptyListOfPorts(t *testing.T) {
	for text, all := range map[string]bool{"": true, "ports = []": false, `ports = ["http"]`: false} {
		var job TaskConfig
		hclutils.NewConfigParser(schema(taskOptions)).ParseHCL(t, "config {\n"+text+"\n}", &job)
		must.Eq(t, all, job.servesAll())
		task := plainTask()
		must.NoError(t, task.EncodeConcreteDriverConfig(&job))
		var decoded TaskConfig
		must.NoError(t, task.DecodeDriverConfig(&decoded))
		must.Eq(t, all, decoded.servesAll())
	}
}

// The agent sends blocks with labels in the first form.
func TestTaskSchema_ParsesInterfacesInJSON(t *testing.T) {
	for _, blocks := range []string{
		`[{"tap": [{"name": "eth1"}]}, {"tap2": [{"name": "none"}]}]`,
		`{"tap": {"name": "eth1"}, "tap2": {"name": "none"}}`,
	} {
		var job TaskConfig
		hclutils.NewConfigParser(schema(taskOptions)).ParseJson(t, `{"Config": {"interface": `+blocks+`}}`, &job)
		must.Eq(t, map[string]InterfaceConfig{"tap": {Name: "eth1"}, "tap2": {Name: "none"}}, job.Interfaces)
	}
}

func TestTaskSchema_Defaults(t *testing.T) {
	var job TaskConfig
	hclutils.NewConfigParser(schema(taskOptions)).ParseHCL(t, `
config {
  kernel      = "local/web.spt"
  rootfs_size = 256
}`, &job)
	must.Eq(t, TaskConfig{
		Kernel: "local/web.spt", RootfsSize: "256", RootfsFormat: formatExt4, Flavor: auto, Tender: auto, NetworkMode: auto,
		Interfaces: map[string]InterfaceConfig{}, Disks: map[string]DiskConfig{}, ImagePullTimeout: DefaultImagePullTimeout,
		Mounts: []MountConfig{},
	}, job)
}

func TestPluginSchema_Defaults(t *testing.T) {
	var config Config
	hclutils.NewConfigParser(schema(pluginOptions)).ParseHCL(t, `config {}`, &config)
	must.Eq(t, DefaultStateDir, config.StateDir)
	must.SliceEmpty(t, config.ImagePaths)
	must.False(t, config.AllowExecHeap)
	must.False(t, config.AllowSpoofing)
	must.Eq(t, DefaultStartTimeout, config.StartTimeout)
	must.Eq(t, HostNetwork{Enabled: true, Subnet: "198.18.0.0/16", Subnet6: "fd6c:6b6c:6c6b:1::/64"}, config.HostNetwork)
	must.Eq(t, ImageGC{Enabled: true, MaxAge: DefaultImageMaxAge, MaxSize: DefaultImageMaxSize}, config.ImageGC)
	must.SliceEmpty(t, config.Registries)
	must.Eq(t, ClientAuth{}, config.Auth)
}

func TestSchema_HasAnOptionForEachField(t *testing.T) {
	checkFields(t, pluginOptions, reflect.TypeFor[Config]())
	checkFields(t, taskOptions, reflect.TypeFor[TaskConfig]())
}

// checkFields compares options with the fields of the struct to which Nomad decodes them.
func checkFields(t *testing.T, options []option, decoded reflect.Type) {
	if kind := decoded.Kind(); kind == reflect.Pointer || kind == reflect.Slice || kind == reflect.Map {
		decoded = decoded.Elem()
	}
	var names, fields []string
	types := map[string]reflect.Type{}
	for _, f := range reflect.VisibleFields(decoded) {
		name := f.Tag.Get("codec")
		fields, types[name] = append(fields, name), f.Type
	}
	for _, o := range options {
		names = append(names, o.name)
		must.True(t, strings.HasSuffix(o.doc, "."), must.Sprint(o.name))
		if len(o.nested) > 0 {
			checkFields(t, o.nested, types[o.name])
		}
	}
	must.SliceContainsAll(t, names, fields)
}

// optionTable returns the options as a table of the reference page.
func optionTable(options []option) string {
	var b strings.Builder
	b.WriteString("| option | type | default | |\n| --- | --- | --- | --- |\n")
	writeRows(&b, "", options)
	return b.String()
}

func writeRows(b *strings.Builder, prefix string, options []option) {
	for _, o := range options {
		value := ""
		switch {
		case o.required:
			value = "required"
		case o.value != "":
			value = "`" + o.value + "`"
		}
		b.WriteString("| `" + prefix + o.name + "` | " + o.kind + " | " + value + " | " + o.doc + " |\n")
		writeRows(b, prefix+o.name+".", o.nested)
	}
}

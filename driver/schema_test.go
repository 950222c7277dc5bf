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
			page = before + begin + reference(options) + end + after
			continue
		}
		must.Eq(t, reference(options), table,
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
  args        = ["--port", "8080", "a b"]
  flavor      = "lkl"
  tender      = "spt"
  exec_heap   = true
  huge_pages  = true
  ports       = ["http"]
  work_dir    = "/srv"
  kernel_log  = true
  sysctl = {
    "net.core.somaxconn" = "4096"
    "vm.swappiness"      = 0
  }
}`, &job)
	must.Eq(t, TaskConfig{
		Kernel: "local/web.spt", Rootfs: "local/root.tar.gz", RootfsSize: "1GiB", RootfsSync: "flush", Args: []string{"--port", "8080", "a b"},
		Flavor: "lkl", Tender: "spt", ExecHeap: true, HugePages: true, Ports: []string{"http"}, WorkDir: "/srv",
		KernelLog: true, Sysctl: []map[string]string{{"net.core.somaxconn": "4096", "vm.swappiness": "0"}},
	}, job)
}

func TestTaskSchema_Defaults(t *testing.T) {
	var job TaskConfig
	hclutils.NewConfigParser(schema(taskOptions)).ParseHCL(t, `
config {
  kernel      = "local/web.spt"
  rootfs_size = 256
}`, &job)
	must.Eq(t, TaskConfig{Kernel: "local/web.spt", RootfsSize: "256", RootfsSync: "none", Flavor: auto, Tender: auto}, job)
}

func TestPluginSchema_Defaults(t *testing.T) {
	var config Config
	hclutils.NewConfigParser(schema(pluginOptions)).ParseHCL(t, `config {}`, &config)
	must.Eq(t, DefaultStateDir, config.StateDir)
	must.SliceEmpty(t, config.ImagePaths)
	must.False(t, config.AllowExecHeap)
	must.False(t, config.AllowSpoofing)
	must.Eq(t, DefaultStartTimeout, config.StartTimeout)
}

func TestSchema_HasAnOptionForEachField(t *testing.T) {
	for _, c := range []struct {
		options []option
		config  any
	}{{pluginOptions, Config{}}, {taskOptions, TaskConfig{}}} {
		var names, fields []string
		for _, o := range c.options {
			names = append(names, o.name)
			must.True(t, strings.HasSuffix(o.doc, "."), must.Sprint(o.name))
		}
		for _, f := range reflect.VisibleFields(reflect.TypeOf(c.config)) {
			fields = append(fields, f.Tag.Get("codec"))
		}
		must.SliceContainsAll(t, names, fields)
	}
}

// reference returns the options as a table of the reference page.
func reference(options []option) string {
	var b strings.Builder
	b.WriteString("| option | type | default | |\n| --- | --- | --- | --- |\n")
	for _, o := range options {
		value := ""
		switch {
		case o.required:
			value = "required"
		case o.value != "":
			value = "`" + o.value + "`"
		}
		b.WriteString("| `" + o.name + "` | " + o.kind + " | " + value + " | " + o.doc + " |\n")
	}
	return b.String()
}

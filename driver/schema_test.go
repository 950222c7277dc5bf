// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/hashicorp/nomad/helper/pluginutils/hclutils"
	"github.com/shoenig/test/must"
)

// With -update the test writes the tables of the reference page anew.
var update = flag.Bool("update", false, "write the generated parts of docs/configuration.md")

const referencePage = "../docs/configuration.md"

func TestReferencePageIsTheSchema(t *testing.T) {
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
			must.Sprint("the page is not what the schema says: go test ./driver -run ReferencePage -update"))
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
}`, &job)
	must.Eq(t, TaskConfig{
		Kernel: "local/web.spt", Rootfs: "local/root.tar.gz", RootfsSize: "1GiB", RootfsSync: "flush", Args: []string{"--port", "8080", "a b"},
		Flavor: "lkl", Tender: "spt", ExecHeap: true, HugePages: true, Ports: []string{"http"}, WorkDir: "/srv",
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
}

// Every field of the structs is an option, and the other way round.
func TestSchema_NamesEveryField(t *testing.T) {
	for _, c := range []struct {
		options []option
		fields  []string
	}{
		{pluginOptions, []string{"state_dir", "image_paths", "allow_exec_heap"}},
		{taskOptions, []string{"kernel", "rootfs", "rootfs_size", "rootfs_sync", "args", "flavor", "tender", "exec_heap", "huge_pages", "ports", "work_dir"}},
	} {
		var names []string
		for _, o := range c.options {
			names = append(names, o.name)
			must.True(t, strings.HasSuffix(o.doc, "."), must.Sprint(o.name))
		}
		must.Eq(t, c.fields, names)
	}
}

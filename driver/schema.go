// SPDX-License-Identifier: MPL-2.0

package driver

import "github.com/hashicorp/nomad/plugins/shared/hclspec"

// An option is an attribute of a configuration block. Options define both the
// schema that Nomad uses and the tables in docs/configuration.md. The text below
// a table explains the options in full.
type option struct {
	name     string
	kind     string // a type of hclspec, such as "list(string)"
	required bool
	value    string // the default as an HCL literal, or ""
	doc      string // a few words
}

// pluginOptions is the plugin's block in the agent's configuration.
var pluginOptions = []option{
	{
		name: "state_dir", kind: "string", value: `"` + DefaultStateDir + `"`,
		doc: "Directory for root disks, sockets and exit statuses of tasks.",
	},
	{
		name: "image_paths", kind: "list(string)", value: "[]",
		doc: "Host directories from which jobs may use kernels and root file systems.",
	},
	{
		name: "allow_exec_heap", kind: "bool", value: "false",
		doc: "Allow jobs to set `exec_heap`.",
	},
	{
		name: "allow_spoofing", kind: "bool", value: "false",
		doc: "Allow guests to send frames with any sender.",
	},
	{
		name: "max_rootfs_size", kind: "string", value: `"` + DefaultMaxRootfsSize + `"`,
		doc: "Largest [root disk](#limits-of-root-disks) of a task.",
	},
	{
		name: "start_timeout", kind: "string", value: `"` + DefaultStartTimeout + `"`,
		doc: "Time in which a task must start, such as `90s`.",
	},
}

// taskOptions is the config block of a task.
var taskOptions = []option{
	{
		name: "kernel", kind: "string", required: true,
		doc: "[Path](#paths) of the unikernel, a Solo5 executable for spt.",
	},
	{
		name: "rootfs", kind: "string",
		doc: "[Path](#paths) of the [root disk](#root-disk): a directory, tar archive or ext4 image.",
	},
	{
		name: "rootfs_size", kind: "string",
		doc: "Size of the root disk, such as `256MiB`; a plain number is in MiB.",
	},
	{
		name: "rootfs_sync", kind: "string", value: `"none"`,
		doc: "When writes reach the host's disk: `none`, `flush` or `write-through`.",
	},
	{
		name: "args", kind: "list(string)",
		doc: "[Arguments](#flavor-and-arguments) of the guest.",
	},
	{
		name: "flavor", kind: "string", value: `"auto"`,
		doc: "[Kind of guest](#flavor-and-arguments): `lkl`, `solo5` or `auto`.",
	},
	{
		name: "tender", kind: "string", value: `"auto"`,
		doc: "Program that runs the guest: `spt`, or `auto` for the kernel's target.",
	},
	{
		name: "exec_heap", kind: "bool", value: "false",
		doc: "Make the guest's heap executable. Needs the plugin's `allow_exec_heap`.",
	},
	{
		name: "huge_pages", kind: "bool", value: "false",
		doc: "Use huge pages of 2 MiB for the guest's [memory](#memory).",
	},
	{
		name: "ports", kind: "list(string)",
		doc: "Labels of the group's ports that the task serves.",
	},
	{
		name: "work_dir", kind: "string",
		doc: "Absolute path in the guest in which the program starts.",
	},
	{
		name: "sysctl", kind: "list(map(string))",
		doc: "[Kernel parameters](#linux) of an LKL guest.",
	},
	{
		name: "kernel_log", kind: "bool", value: "false",
		doc: "Print an LKL guest's [kernel messages](#linux) on its console.",
	},
}

// schema converts options to Nomad's form.
func schema(options []option) *hclspec.Spec {
	attrs := make(map[string]*hclspec.Spec, len(options))
	for _, o := range options {
		attr := hclspec.NewAttr(o.name, o.kind, o.required)
		if o.value != "" {
			attr = hclspec.NewDefault(attr, hclspec.NewLiteral(o.value))
		}
		attrs[o.name] = attr
	}
	return hclspec.NewObject(attrs)
}

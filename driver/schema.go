// SPDX-License-Identifier: MPL-2.0

package driver

import "github.com/hashicorp/nomad/plugins/shared/hclspec"

// An option is one attribute of a configuration block. The schema that Nomad
// parses by is made from it, and so is the reference page (schema_test.go).
type option struct {
	name     string
	kind     string // as hclspec writes it: string, bool, list(string)
	required bool
	value    string // the default as an HCL literal; "" is none
	doc      string
}

// pluginOptions is the plugin's block in the agent's configuration.
var pluginOptions = []option{
	{
		name: "state_dir", kind: "string", value: `"` + DefaultStateDir + `"`,
		doc: "Where the driver keeps what its tasks own: the private root disks, which hold the tasks' " +
			"secrets, and the sockets and exit statuses of the executors. An absolute path, only for root, on a " +
			"local file system that survives a reboot. With XFS or Btrfs, root disks are made by reflink.",
	},
	{
		name: "image_paths", kind: "list(string)", value: "[]",
		doc: "Directories of the host from which a job may name a `kernel` or `rootfs` by absolute path. A path " +
			"counts as being where its symbolic links lead. Without any, kernels and roots come from the task " +
			"directory alone.",
	},
	{
		name: "allow_exec_heap", kind: "bool", value: "false",
		doc: "Whether a job may set `exec_heap`, which gives up that a guest's memory is never both writable " +
			"and executable.",
	},
}

// taskOptions is the config block of a task.
var taskOptions = []option{
	{
		name: "kernel", kind: "string", required: true,
		doc: "The unikernel: a Solo5 executable for the spt target, ABI 1 or 2. A path relative to the task " +
			"directory such as `local/web.spt`, a path as the task sees it such as `/alloc/data/web.spt`, or an " +
			"absolute path of the host below one of the plugin's `image_paths`.",
	},
	{
		name: "rootfs", kind: "string",
		doc: "The guest's disk, as a path like `kernel`: a directory, a tar archive (plain or gzip), or an ext4 " +
			"image. Each start gets a private copy, which ends with the task. It backs the guest's only block " +
			"device. A guest of flavour `solo5` may also get any other file as a raw disk.",
	},
	{
		name: "rootfs_size", kind: "string",
		doc: "The size of that disk, which the guest cannot exceed: a number with a unit (`KiB`, `MiB`, `GiB`, " +
			"in short `K`, `M`, `G`), or a plain number of MiB as in `resources`. By default the content plus 64 MiB " +
			"for a directory or tar, and its own size for an image. An image is never made smaller.",
	},
	{
		name: "rootfs_sync", kind: "string", value: `"none"`,
		doc: "When what the guest writes is on the host's disk, so that a crash of the host does not lose it: `none` " +
			"(when the host gets to it, the fastest), `flush` (when the guest flushes: what its program's fsync has returned " +
			"for; for guests that [understand](guest-reference.md#features) `flush`), or `write-through` " +
			"(before each write returns, whatever the guest). All else survives with each of them alike: see " +
			"[What survives what](guest-reference.md#durability).",
	},
	{
		name: "args", kind: "list(string)",
		doc: "The guest's arguments. A guest of flavour `lkl` gets each of them whole, whatever is in it; a guest " +
			"of flavour `solo5` gets them joined by blanks, so an argument with white space is refused, and in them " +
			"`{{ipv4}}`, `{{ipv4_gateway}}`, `{{ipv6}}` and `{{ipv6_gateway}}` stand for the addresses of the alloc, " +
			"such as `172.26.64.5/20` and `172.26.64.1`.",
	},
	{
		name: "flavor", kind: "string", value: `"auto"`,
		doc: "What is in the unikernel, which decides how it is told its arguments, environment and network: " +
			"`lkl` (Linux as a library), `solo5` (anything else: it gets the arguments alone), or `auto`: `lkl` if " +
			"its file [says so](guest-reference.md#features), or if it declares a block device `rootfs` and a net " +
			"device `tap`, as those of 2020 do.",
	},
	{
		name: "tender", kind: "string", value: `"auto"`,
		doc: "What runs the unikernel: `spt`, a process of nine system calls (ten with `rootfs_sync = \"flush\"`), or `auto`, the one that the kernel " +
			"was linked for.",
	},
	{
		name: "exec_heap", kind: "bool", value: "false",
		doc: "Make the guest's heap executable, for programs that compile at run time. Needs the plugin's " +
			"`allow_exec_heap`.",
	},
	{
		name: "huge_pages", kind: "bool", value: "false",
		doc: "Back the guest's memory with huge pages (2 MiB) as it is used, where the host has them to give: a guest " +
			"that works with much memory is faster, and a small one occupies more. Without it a guest has none, whatever " +
			"the host's setting.",
	},
	{
		name: "ports", kind: "list(string)",
		doc: "Labels of the group's `network` that this task answers on. Every port of the group leads to the " +
			"alloc's address with or without it; a label that the group lacks is refused.",
	},
	{
		name: "work_dir", kind: "string",
		doc: "The directory that the program starts in, an absolute path in the guest. For guests that " +
			"[understand](guest-reference.md#features) `program`.",
	},
}

// schema turns options into what Nomad parses by.
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

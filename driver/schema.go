// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"strconv"
	"strings"

	"github.com/hashicorp/nomad/plugins/shared/hclspec"

	"github.com/lkl-nomad/nomad-driver-lkl/network"
)

// An option is an attribute of a configuration block. Options define both the
// schema that Nomad uses and the tables in docs/configuration.md. The text below
// a table explains the options in full.
type option struct {
	name     string
	kind     string // a type of hclspec, such as "list(string)", or kindBlock or kindBlocks
	required bool
	value    string   // the default as an HCL literal, or ""
	doc      string   // a few words
	nested   []option // the attributes of a block
}

// The kinds of options that are blocks.
const (
	kindBlock  = "block"          // at most one
	kindBlocks = "blocks"         // any number
	kindByName = "blocks by name" // any number, each with another label
)

// pluginOptions is the plugin's block in the agent's configuration.
var pluginOptions = []option{
	{
		name: "state_dir", kind: "string", value: `"` + DefaultStateDir + `"`,
		doc: "Directory for cached images, and for root disks, sockets and exit statuses of tasks.",
	},
	{
		name: "image_paths", kind: "list(string)", value: "[]",
		doc: "Host directories from which jobs may use kernels, root file systems and files of images.",
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
		name: "block_metadata", kind: "string", value: `"` + blockInHostMode + `"`,
		doc: "Which guests cannot reach [metadata services](#metadata-services): those in mode `host`, `always` or `never`.",
	},
	{
		name: "max_rootfs_size", kind: "string", value: `"` + DefaultMaxRootfsSize + `"`,
		doc: "Largest [root disk](#limits-of-root-disks) of a task, and largest content of an [image](images.md).",
	},
	{
		name: "start_timeout", kind: "string", value: `"` + DefaultStartTimeout + `"`,
		doc: "Time in which a task must start, such as `90s`.",
	},
	{
		name: "auth", kind: kindBlock,
		doc: "Credentials for registries, for tasks without `auth`.",
		nested: []option{
			{
				name: "config", kind: "string",
				doc: "Path of a `config.json` of docker.",
			},
			{
				name: "helper", kind: "string",
				doc: "Credential helper: `ecr-login` runs `docker-credential-ecr-login`.",
			},
		},
	},
	{
		name: "registry", kind: kindBlocks,
		doc: "Settings of one registry.",
		nested: []option{
			{
				name: "host", kind: "string", required: true,
				doc: "Host of the registry, with its port if references contain one.",
			},
			{
				name: "plain_http", kind: "bool", value: "false",
				doc: "Use HTTP without TLS.",
			},
			{
				name: "skip_verify", kind: "bool", value: "false",
				doc: "Accept any certificate.",
			},
			{
				name: "ca_file", kind: "string",
				doc: "Path of the CA certificates that sign the registry's, in PEM.",
			},
		},
	},
	{
		name: "host_network", kind: kindBlock,
		doc: "Tasks of groups [without a network namespace](#host-network).",
		nested: []option{
			{name: "enabled", kind: "bool", value: "true", doc: "Allow guests to use the host's network."},
			{name: "subnet", kind: "string", value: strconv.Quote(network.DefaultHostSubnet.String()), doc: "IPv4 addresses for these guests."},
			{name: "subnet6", kind: "string", value: strconv.Quote(network.DefaultHostSubnet6.String()), doc: "IPv6 addresses for these guests, or `\"\"` for none."},
		},
	},
	{
		name: "volumes", kind: kindBlock,
		doc: "Files of the host that jobs may [mount](volumes.md#mount-blocks). Nomad's volumes do not need it.",
		nested: []option{
			{name: "enabled", kind: "bool", value: "false", doc: "Allow jobs to mount what lies below `paths`."},
			{name: "paths", kind: "list(string)", value: "[]", doc: "Directories of the host."},
		},
	},
	{
		name: "image_gc", kind: kindBlock,
		doc: "Removal of cached images that no task uses.",
		nested: []option{
			{
				name: "enabled", kind: "bool", value: "true",
				doc: "Remove images by age and size.",
			},
			{
				name: "max_age", kind: "string", value: `"` + DefaultImageMaxAge + `"`,
				doc: "Time since the last use after which an image is removed.",
			},
			{
				name: "max_size", kind: "string", value: `"` + DefaultImageMaxSize + `"`,
				doc: "Size of all cached images above which the least recently used are removed.",
			},
		},
	},
}

// taskOptions is the config block of a task.
var taskOptions = []option{
	{
		name: "image", kind: "string",
		doc: "[Image](images.md) that contains the unikernel and its root file system.",
	},
	{
		name: "kernel", kind: "string",
		doc: "[Path](#paths) of the unikernel, a Solo5 executable for spt. With `image`: its path in the image.",
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
		name: "rootfs_sync", kind: "string",
		doc: "When writes reach the host's disk: `none`, `flush` or `write-through`. Default: `none`; with `rootfs_persist`: as `sync` of a disk.",
	},
	{
		name: "rootfs_format", kind: "string", value: strconv.Quote(formatExt4),
		doc: "File system of a root disk from a directory or archive: `ext4`, or `iso9660` for a [read-only](#read-only-root-disks) one.",
	},
	{
		name: "rootfs_read_only", kind: "bool", value: "false",
		doc: "The guest [cannot write](#read-only-root-disks) to its root disk. Tasks share one ext4 image.",
	},
	{
		name: "rootfs_persist", kind: "string",
		doc: "Path of a [root disk that outlives the task](#a-root-disk-that-outlives-the-task), as `source` of a [disk](#disks).",
	},
	{
		name: "rootfs_options", kind: "string",
		doc: "[Mount options](#rootfs_options) of the root in an LKL guest, such as `noatime`.",
	},
	{
		name: "args", kind: "list(string)",
		doc: "[Arguments](#flavor-and-arguments) of the guest. With `image`: instead of its CMD.",
	},
	{
		name: "entrypoint", kind: "list(string)",
		doc: "Kernel and first arguments instead of the image's ENTRYPOINT.",
	},
	{
		name: "image_pull_policy", kind: "string",
		doc: "When to ask the registry: `missing`, `always` or `never`. The default depends on the [tag](images.md#pull-policy).",
	},
	{
		name: "image_pull_timeout", kind: "string", value: `"` + DefaultImagePullTimeout + `"`,
		doc: "Time in which the image must be ready, apart from `start_timeout`.",
	},
	{
		name: "auth", kind: kindBlock,
		doc: "[Credentials](images.md#credentials) for the image's registry.",
		nested: []option{
			{name: "username", kind: "string", required: true, doc: "Name of the user."},
			{name: "password", kind: "string", required: true, doc: "Password or token."},
		},
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
		doc: "[Ports](#ports) that the task serves: labels of the group's ports, or numbers. Without it: all.",
	},
	{
		name: "network_mode", kind: "string", value: `"auto"`,
		doc: "[How the task uses the group's network](#network): `shared`, `l2`, `none`, or `auto` for `shared` if the host can.",
	},
	{
		name: "interface", kind: kindByName,
		doc: "[Interface](#interfaces) for the net device of this name in the kernel's manifest.",
		nested: []option{
			{name: "name", kind: "string", required: true, doc: "Interface of the group's network, such as `eth1`, or `none`."},
		},
	},
	{
		name: "disk", kind: kindByName,
		doc: "[Disk](#disks) for the block device of this name.",
		nested: []option{
			{name: "source", kind: "string", doc: "Path of an image, which outlives the task. Without it: an empty disk that ends with the task."},
			{name: "size", kind: "string", doc: "Size of a missing or empty image, such as `1GiB`. A smaller image grows."},
			{name: "read_only", kind: "bool", value: "false", doc: "Several tasks may use the disk, and none can write."},
			{name: "mount", kind: "string", doc: "Absolute path in an LKL guest at which the disk is mounted."},
			{name: "mount_options", kind: "string", doc: "Mount options, such as `noatime`."},
			{name: "sync", kind: "string", doc: "When writes reach the host's disk, as `rootfs_sync`. Default with `source`: `flush` if the guest can, otherwise `write-through`."},
		},
	},
	{
		name: "work_dir", kind: "string",
		doc: "Absolute path in the guest in which the program starts.",
	},
	{
		name: "argv0", kind: "string",
		doc: "[Name of the program](#flavor-and-arguments), its `argv[0]`, in an LKL guest. Default: the kernel's file name, without `lkl-` and `.spt`.",
	},
	{
		name: "mount", kind: kindBlocks,
		doc: "Files of the host or memory that an LKL guest [mounts](volumes.md#mount-blocks).",
		nested: []option{
			{name: "type", kind: "string", doc: "`bind` or `tmpfs`."},
			{name: "target", kind: "string", doc: "Absolute path in the guest."},
			{name: "source", kind: "string", doc: "File or directory for `bind`, relative to the task directory."},
			{name: "readonly", kind: "bool", value: "false", doc: "Refuse writes."},
			{
				name: "bind_options", kind: kindBlock, doc: "Options for `bind`.",
				nested: []option{{
					name: "propagation", kind: "string",
					doc: "`rprivate` or `rslave`: whether mounts that appear on the host later are visible.",
				}},
			},
			{
				name: "tmpfs_options", kind: kindBlock, doc: "Options for `tmpfs`.",
				nested: []option{
					{name: "size", kind: "number", doc: "Size in bytes."},
					{name: "mode", kind: "number", doc: "Permissions as a decimal number: 448 is 0700."},
				},
			},
		},
	},
	{
		name: "bandwidth", kind: kindBlock,
		doc: "[Limits](#bandwidth) of the guest's network.",
		nested: []option{
			{name: "ingress", kind: "string", doc: "Rate to the guest in bits per second, such as `100mbit`."},
			{name: "egress", kind: "string", doc: "Rate from the guest."},
		},
	},
	{
		name: "hostname", kind: "string",
		doc: "[Host name](#host-name) of an LKL guest.",
	},
	{
		name: "extra_hosts", kind: "list(string)",
		doc: "[Entries](#host-name) of an LKL guest's `/etc/hosts`: `NAME:IP`, `NAME:[IPv6]` or `NAME:host-gateway`.",
	},
	{
		name: "sysctl", kind: "list(map(string))",
		doc: "[Kernel parameters](#linux) of an LKL guest.",
	},
	{
		name: "stack_size", kind: "string",
		doc: "Size of the [main thread's stack](#linux) of an LKL guest, such as `8MiB`; a plain number is in MiB.",
	},
	{
		name: "kernel_log", kind: "bool", value: "false",
		doc: "Print an LKL guest's [kernel messages](#linux).",
	},
}

// schema converts options to Nomad's form.
func schema(options []option) *hclspec.Spec {
	attrs := make(map[string]*hclspec.Spec, len(options))
	for _, o := range options {
		attrs[o.name] = o.spec()
	}
	return hclspec.NewObject(attrs)
}

// spec converts one option to Nomad's form. A block with defaults has them even if the
// configuration lacks the block.
func (o option) spec() *hclspec.Spec {
	var spec *hclspec.Spec
	value := o.value
	switch o.kind {
	case kindBlock:
		spec, value = hclspec.NewBlock(o.name, o.required, schema(o.nested)), defaults(o.nested)
	case kindBlocks:
		spec = hclspec.NewBlockList(o.name, schema(o.nested))
	case kindByName:
		spec = hclspec.NewBlockMap(o.name, []string{"name"}, schema(o.nested))
	default:
		spec = hclspec.NewAttr(o.name, o.kind, o.required)
	}
	if value == "" {
		return spec
	}
	return hclspec.NewDefault(spec, hclspec.NewLiteral(value))
}

// defaults returns the defaults of options as an HCL object, or "".
func defaults(options []option) string {
	var lines []string
	for _, o := range options {
		if o.value != "" {
			lines = append(lines, o.name+" = "+o.value)
		}
	}
	if len(lines) == 0 {
		return ""
	}
	return "{\n" + strings.Join(lines, "\n") + "\n}"
}

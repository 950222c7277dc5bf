// SPDX-License-Identifier: MPL-2.0

package hostcheck

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	"github.com/lkl-nomad/nomad-driver-lkl/disk"
)

// minE2fsprogs is the oldest version of e2fsprogs with which the driver is tested.
var minE2fsprogs = [2]int{1, 47}

const installE2fsprogs = "apt-get install e2fsprogs"

// checkTools runs each tool. The driver's fingerprint only looks for the tools, because it
// is repeated: see disk.CheckTools.
func checkTools(ctx context.Context) Finding {
	if err := disk.CheckTools(); err != nil {
		return failed(installE2fsprogs, "guests with a root disk cannot run: %v", err)
	}
	var found, old []string
	for _, t := range disk.Tools(ctx) {
		if t.Err != nil {
			return failed("apt-get install --reinstall e2fsprogs", "guests with a root disk cannot run: %v", t.Err)
		}
		text := t.Name + " " + t.Version
		found = append(found, text)
		v := kernelVersion(t.Version)
		if v[0] < minE2fsprogs[0] || v[0] == minE2fsprogs[0] && v[1] < minE2fsprogs[1] {
			old = append(old, text+" ("+t.Path+")")
		}
	}
	if old != nil {
		return warning(installE2fsprogs, "older than %d.%d, with which the driver is tested: %s",
			minE2fsprogs[0], minE2fsprogs[1], strings.Join(old, ", "))
	}
	return ok("%s", strings.Join(found, ", "))
}

// checkBuild makes a small root disk, with the tools in their sandbox.
func checkBuild(ctx context.Context) Finding {
	if disk.CheckTools() != nil {
		return skipped("without the tools")
	}
	dir, err := os.MkdirTemp("", "lkl-doctor-")
	if err != nil {
		return skipped("create a temporary directory: %v", err)
	}
	defer os.RemoveAll(dir)
	content := filepath.Join(dir, "content")
	if err := os.Mkdir(content, 0o755); err != nil {
		return skipped("create a temporary directory: %v", err)
	}
	const size = 1 << 20
	if err := disk.Build(ctx, content, filepath.Join(dir, "image"), disk.BuildOptions{Size: size}); err != nil {
		return failed("", "guests with a root disk cannot run: %v", err)
	}
	return ok("the tools made a root disk in their sandbox")
}

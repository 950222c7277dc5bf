// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"context"
	"fmt"
	"os"
	"strconv"

	"github.com/lkl-nomad/nomad-driver-lkl/disk/internal/e2fsprogs"
)

// Grow enlarges an image and its file system to size bytes, rounded down to whole blocks.
// An image that has this size is left unchanged; a larger one is an error. An image that
// was not unmounted cleanly is repaired first.
func Grow(ctx context.Context, sandbox Sandbox, path string, size int64) error {
	image, err := openExt4(path, os.O_RDWR)
	if err != nil {
		return fmt.Errorf("grow an image: %w", err)
	}
	defer image.Close()
	if current := image.size(); size-size%image.blockSize < current {
		return fmt.Errorf("grow %s to %d bytes: the image already has %d bytes", path, size, current)
	}
	if err := image.grow(ctx, sandbox, size); err != nil {
		return fmt.Errorf("grow %s to %d bytes: %w", path, size, err)
	}
	return nil
}

// grow does nothing for an image of at least this size.
func (f *ext4File) grow(ctx context.Context, sandbox Sandbox, size int64) error {
	size -= size % f.blockSize
	if size <= f.size() {
		return nil
	}
	if !f.clean {
		if err := f.repair(ctx, sandbox); err != nil {
			return err
		}
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() < size {
		if err := f.Truncate(size); err != nil {
			return err
		}
	}
	// Without -f, resize2fs refuses images that were mounted since their last full
	// check. The state flag has been examined above.
	cmd, err := e2fsprogs.Command(ctx, sandbox, e2fsprogs.Resize2fs, f.File, "-f", e2fsprogs.ImagePath,
		strconv.FormatInt(size/512, 10)+"s")
	if err != nil {
		return err
	}
	return cmd.Run()
}

// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"context"
	"fmt"
	"os"
	"strconv"
)

// Exit status of e2fsck when it corrected what it found: e2fsck(8).
const corrected = 1

// Check looks through the whole image without changing it; ErrDamaged: something
// is wrong with it. An image that a running guest has open is never in order.
func Check(ctx context.Context, image string) error {
	img, err := openImage(image, os.O_RDONLY)
	if err != nil {
		return fmt.Errorf("check an image: %w", err)
	}
	defer img.Close()
	cmd, err := newTool(ctx, e2fsck, img.File, "-f", "-n", imagePath)
	if err != nil {
		return err
	}
	if err := runTool(ctx, cmd); err != nil {
		if exitCode(err) > 0 {
			err = fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		return fmt.Errorf("check %s: %w", image, err)
	}
	return nil
}

// Grow makes an image and the file system in it larger, up to size bytes rounded
// down to whole blocks. An image that has that size already is left as it is; a
// larger one is an error. An image that is not clean is repaired first.
func Grow(ctx context.Context, image string, size int64) error {
	img, err := openImage(image, os.O_RDWR)
	if err != nil {
		return fmt.Errorf("grow an image: %w", err)
	}
	defer img.Close()
	size -= size % img.blockSize
	switch now := img.size(); {
	case size == now:
		return nil
	case size < now:
		return fmt.Errorf("grow %s to %d bytes: it has %d already", image, size, now)
	}
	if err := img.grow(ctx, size); err != nil {
		return fmt.Errorf("grow %s to %d bytes: %w", image, size, err)
	}
	return nil
}

func (img *image) grow(ctx context.Context, size int64) error {
	if !img.clean {
		if err := repair(ctx, img); err != nil {
			return err
		}
	}
	info, err := img.Stat()
	if err != nil {
		return err
	}
	if info.Size() < size {
		if err := img.Truncate(size); err != nil {
			return err
		}
	}
	// -f: what was checked is the state, not the date of the last check.
	cmd, err := newTool(ctx, resize2fs, img.File, "-f", imagePath,
		strconv.FormatInt(size/512, 10)+"s")
	if err != nil {
		return err
	}
	return runTool(ctx, cmd)
}

// repair makes an image clean that a guest left otherwise, as a boot would.
func repair(ctx context.Context, img *image) error {
	return fix(ctx, img, "-p", imagePath)
}

// replay makes the changes in the journal of an image that was not unmounted,
// which the next mount would otherwise make over those of debugfs.
func replay(ctx context.Context, img *image) error {
	if !img.recover {
		return nil
	}
	return fix(ctx, img, "-y", "-E", "journal_only", imagePath)
}

func fix(ctx context.Context, img *image, args ...string) error {
	cmd, err := newTool(ctx, e2fsck, img.File, args...)
	if err != nil {
		return err
	}
	if err := runTool(ctx, cmd); err != nil && exitCode(err) != corrected {
		return fmt.Errorf("repair %s: %w", img.Name(), err)
	}
	return nil
}

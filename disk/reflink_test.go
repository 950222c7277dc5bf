// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// On XFS, a copy shares the blocks of its original.
func TestCopy_SharesBlocksOnXFS(t *testing.T) {
	dir := newXFS(t)
	src := writeFile(t, filepath.Join(dir, "src"), strings.Repeat("data", 8<<20))
	f, err := os.Open(src)
	must.NoError(t, err)
	must.NoError(t, unix.Syncfs(int(f.Fd()))) // data that is not on disk yet has no blocks to share
	must.NoError(t, f.Close())
	free := func() uint64 {
		var stat unix.Statfs_t
		must.NoError(t, unix.Statfs(dir, &stat))
		return stat.Bfree * uint64(stat.Bsize)
	}
	before := free()
	dst := filepath.Join(dir, "dst")
	must.NoError(t, Copy(t.Context(), src, dst))
	must.True(t, sameContent(t, src, dst))
	must.Less(t, 1<<20, before-free())
	must.NoError(t, os.Truncate(src, 0))
	must.False(t, sameContent(t, src, dst))
}

// newXFS creates a file system and returns the path of its root. It is not mounted at any
// path, and vanishes with the test's descriptor.
func newXFS(t *testing.T) string {
	t.Helper()
	testenv.Need(t, testenv.Root, testenv.Tool("mkfs.xfs"), testenv.Loop)
	image := filepath.Join(t.TempDir(), "xfs")
	must.NoError(t, os.WriteFile(image, nil, 0o600))
	must.NoError(t, os.Truncate(image, 512<<20))
	out, err := exec.Command("mkfs.xfs", "-q", "-m", "reflink=1", image).CombinedOutput()
	must.NoError(t, err, must.Sprint(string(out)))
	device, err := attachLoop(image)
	must.NoError(t, err)
	t.Cleanup(func() { device.Close() })
	root, err := detachedMount("xfs", [2]string{"source", device.Name()})
	must.NoError(t, err)
	t.Cleanup(func() { root.Close() })
	return fmt.Sprintf("/proc/self/fd/%d", root.Fd())
}

// attachLoop makes a file a block device until the last user closes the device.
func attachLoop(image string) (*os.File, error) {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer control.Close()
	backing, err := os.OpenFile(image, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer backing.Close()
	for {
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil, err
		}
		device, err := os.OpenFile(fmt.Sprintf("/dev/loop%d", n), os.O_RDWR, 0)
		if err != nil {
			return nil, err
		}
		err = unix.IoctlLoopConfigure(int(device.Fd()), &unix.LoopConfig{
			Fd: uint32(backing.Fd()), Info: unix.LoopInfo64{Flags: unix.LO_FLAGS_AUTOCLEAR},
		})
		if err == nil {
			return device, nil
		}
		device.Close()
		if !errors.Is(err, unix.EBUSY) { // another process took the device
			return nil, err
		}
	}
}

// detachedMount creates a file system with options, and mounts it at no path.
func detachedMount(kind string, options ...[2]string) (*os.File, error) {
	fs, err := unix.Fsopen(kind, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fs)
	for _, option := range options {
		if err := unix.FsconfigSetString(fs, option[0], option[1]); err != nil {
			return nil, err
		}
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return nil, err
	}
	mount, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(mount), "/"), nil
}

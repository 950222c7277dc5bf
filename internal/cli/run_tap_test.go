// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// openTap opens a tap in a network namespace that ends with the tap.
func openTap(t *testing.T, flags uint16) *os.File {
	t.Helper()
	opened := make(chan *os.File, 1)
	go func() {
		defer close(opened)
		runtime.LockOSThread() // the thread ends with this goroutine
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Errorf("unshare: %v", err)
			return
		}
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Errorf("open /dev/net/tun: %v", err)
			return
		}
		request, err := unix.NewIfreq("tap9")
		if err == nil {
			request.SetUint16(flags)
			err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
		}
		if err != nil {
			t.Errorf("create a tap: %v", err)
		}
		opened <- os.NewFile(uintptr(fd), "tap9")
	}()
	f := <-opened
	must.NotNil(t, f)
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func TestRun_OffloadRequiresATapWithHeaders(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.Tun)
	image := filepath.Join(t.TempDir(), "image")
	must.NoError(t, os.WriteFile(image, make([]byte, 4096), 0o600))
	const ethernet = unix.IFF_TAP | unix.IFF_NO_PI
	plain, headers := openTap(t, ethernet), openTap(t, ethernet|unix.IFF_VNET_HDR)
	notATap, err := os.Open(image)
	must.NoError(t, err)
	defer notATap.Close()
	for _, c := range []struct {
		file    *os.File
		options []string
		output  string
	}{
		{plain, nil, "net tap: "},
		{headers, []string{"--net-offload:tap"}, "net tap: "},
		{plain, []string{"--net-offload:tap"}, "IFF_VNET_HDR"},
		{headers, nil, "IFF_VNET_HDR"},
		{openTap(t, unix.IFF_TUN|unix.IFF_NO_PI), nil, "IFF_TAP"},
		{notATap, []string{"--net-offload:tap"}, "descriptor 3"},
	} {
		args := append([]string{"run", "--mem=8", "--net:tap=@3", "--block:rootfs=" + image}, c.options...)
		cmd := exec.Command(testenv.LKL(t), append(args, testenv.Guest(t, "hello-lkl.spt"))...)
		cmd.ExtraFiles = []*os.File{c.file}
		output, err := cmd.CombinedOutput()
		must.StrContains(t, string(output), c.output)
		must.Eq(t, c.output == "net tap: ", err == nil, must.Sprint(string(output)))
	}
}

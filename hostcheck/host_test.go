// SPDX-License-Identifier: MPL-2.0

package hostcheck

import (
	"bytes"
	"context"
	"encoding/binary"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

func TestLocalHost_RunsGuest(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("needs amd64")
	}
	succeed := func() error { return nil }
	must.NoError(t, LocalHost(DriverProbes{StateDir: succeed, Executor: succeed, Ext4: succeed}).SPT(context.Background()))
}

func TestTapProbe_ConnectsUntilItSucceeds(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.Tun)
	calls, failure := 0, unix.ENOENT
	probe := tapProbe(func() error {
		calls++
		if calls < 3 {
			return failure
		}
		return nil
	})
	must.ErrorIs(t, probe(), failure)
	must.ErrorIs(t, probe(), failure)
	must.NoError(t, probe())
	must.NoError(t, probe())
	must.Eq(t, 3, calls)
}

func TestCreateVM_CreatesMachine(t *testing.T) {
	testenv.Need(t, testenv.KVM)
	must.NoError(t, createVM())
}

func TestKVMProbe_CreatesMachineOnlyWhenDeviceChanges(t *testing.T) {
	device := filepath.Join(t.TempDir(), "kvm")
	created, failure := 0, error(nil)
	probe := kvmProbe{device: device, create: func() error {
		created++
		return failure
	}}
	failure = unix.ENOENT
	must.ErrorIs(t, probe.check(), unix.ENOENT)
	must.ErrorIs(t, probe.check(), unix.ENOENT)
	must.Eq(t, 1, created)

	failure = nil
	must.NoError(t, os.WriteFile(device, nil, 0o600))
	must.NoError(t, probe.check())
	must.NoError(t, probe.check())
	must.Eq(t, 2, created)

	must.NoError(t, os.Chown(device, os.Getuid(), os.Getgid())) // changes ctime alone
	must.NoError(t, probe.check())
	must.Eq(t, 3, created)

	failure = unix.EBUSY
	must.NoError(t, os.Remove(device))
	must.ErrorIs(t, probe.check(), unix.EBUSY)
	must.ErrorIs(t, probe.check(), unix.EBUSY)
	must.Eq(t, 4, created)
}

func TestOpenTap_OpensDevice(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.Tun)
	must.NoError(t, openTap())
}

func TestCgroupVersion_FindsHostsVersion(t *testing.T) {
	testenv.Need(t, testenv.Root)
	version, err := cgroupVersion()
	must.NoError(t, err)
	must.SliceContains(t, []string{"v1", "v2"}, version)
}

func TestWatchDevices_DeliversWhenDeviceAppears(t *testing.T) {
	dir := t.TempDir()
	defer func(original []string) { deviceDirs = original }(deviceDirs)
	deviceDirs = []string{dir, filepath.Join(dir, "missing")}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	changes := WatchDevices(ctx)

	must.NoError(t, os.WriteFile(filepath.Join(dir, "kvm"), nil, 0o600))
	testenv.Receive(t, changes)
}

func TestContainsDevice_IgnoresOtherNames(t *testing.T) {
	event := func(name string) []byte {
		var b bytes.Buffer
		padded := append([]byte(name), make([]byte, 16-len(name))...)
		must.NoError(t, binary.Write(&b, binary.NativeEndian, unix.InotifyEvent{Len: uint32(len(padded))}))
		b.Write(padded)
		return b.Bytes()
	}
	must.True(t, containsDevice(event("kvm")))
	must.False(t, containsDevice(event("null")))
	must.True(t, containsDevice(append(event("null"), event("tun")...)))
	must.False(t, containsDevice(event("kvm")[:20])) // truncated
	must.False(t, containsDevice(nil))
}

// SPDX-License-Identifier: MPL-2.0

package fingerprint

import (
	"bytes"
	"context"
	"encoding/binary"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

func TestThis_RunsAGuest(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("needs amd64")
	}
	fine := func() error { return nil }
	must.NoError(t, This(fine, fine).SPT(context.Background()))
}

func TestThis_CreatesAVirtualMachine(t *testing.T) {
	testenv.Need(t, testenv.KVM)
	must.NoError(t, createVM())
}

func TestThis_OpensTheTapDevice(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.Tun)
	must.NoError(t, openTap())
}

func TestThis_FindsControlGroups(t *testing.T) {
	testenv.Need(t, testenv.Root)
	version, err := cgroup()
	must.NoError(t, err)
	must.SliceContains(t, []string{"v1", "v2"}, version)
}

func TestChanges_DeliversWhenADeviceComes(t *testing.T) {
	dir := t.TempDir()
	defer func(old []string) { watched = old }(watched)
	watched = []string{dir, filepath.Join(dir, "missing")}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	changes := Changes(ctx)

	must.NoError(t, os.WriteFile(filepath.Join(dir, "kvm"), nil, 0o600))
	select {
	case <-changes:
	case <-time.After(10 * time.Second):
		t.Fatal("no change within 10 s")
	}
}

func TestConcerns_OtherNamesAreIgnored(t *testing.T) {
	event := func(name string) []byte {
		var b bytes.Buffer
		padded := append([]byte(name), make([]byte, 16-len(name))...)
		must.NoError(t, binary.Write(&b, binary.NativeEndian, unix.InotifyEvent{Len: uint32(len(padded))}))
		b.Write(padded)
		return b.Bytes()
	}
	must.True(t, concerns(event("kvm")))
	must.False(t, concerns(event("null")))
	must.True(t, concerns(append(event("null"), event("tun")...)))
	must.False(t, concerns(event("kvm")[:20])) // cut short
	must.False(t, concerns(nil))
}

// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/fingerprint"
	"github.com/lkl-nomad/nomad-driver-lkl/hostcheck"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/version"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// A node must not attract jobs whose starts fail. It is healthy again when the file
// system has been mended.
func TestFingerprint_FollowsTheFileSystemOfTheStateDirectory(t *testing.T) {
	d := testDriver(t)
	d.install = builtPrograms(t)
	must.NoError(t, testenv.OnSmallDisk(t, func(dir string) error {
		d.use(Config{StateDir: filepath.Join(dir, "state")})
		host := hostcheck.LocalHost(d.probes())
		expect := func(reason string) error {
			f := fingerprint.Read(t.Context(), version.Version, host)
			healthy := f.Health == drivers.HealthStateHealthy
			if healthy != (reason == "") || !strings.Contains(f.HealthDescription, reason) {
				return fmt.Errorf("want %q, the fingerprint is %s: %s", reason, f.Health, f.HealthDescription)
			}
			return nil
		}
		remount := func(flags uintptr) error { return unix.Mount("", dir, "", unix.MS_REMOUNT|flags, "") }
		return errors.Join(
			remount(unix.MS_RDONLY), expect("read-only"), // without the directories
			remount(0), expect(""),
			remount(unix.MS_RDONLY), expect("read-only"),
			remount(unix.MS_NOEXEC), expect("noexec"),
			remount(0), expect(""),
			testenv.FillDisk(dir), expect("is full"),
			os.Remove(filepath.Join(dir, "full")), expect(""),
			os.Chmod(d.config.StateDir, 0o777), expect("chmod go-w"),
			os.Chmod(d.config.StateDir, 0o700), expect(""),
			os.RemoveAll(d.config.StateDir), expect(""),
		)
	}))
}

func TestStateDir_RefusesADirectoryThatOthersCanChange(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	must.NoError(t, os.Mkdir(dir, 0o700))
	must.NoError(t, os.Chmod(dir, 0o777))
	config := Config{StateDir: dir}
	must.Eq(t, []string{"state_dir"}, fields(config.validate()))
	must.ErrorContains(t, makeStateDir(dir), "chmod go-w") // the mode may change later
	must.DirNotExists(t, tasksDir(dir))
}

func TestFingerprint_HostNetworkNeedsThePermissionOfTheOperator(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.Tun)
	d := testDriver(t)
	must.NoError(t, d.checkHostNetwork())
	d.config.HostNetwork.Enabled = false
	must.ErrorIs(t, d.checkHostNetwork(), hostcheck.ErrForbidden)
}

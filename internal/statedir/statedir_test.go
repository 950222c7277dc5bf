// SPDX-License-Identifier: MPL-2.0

package statedir

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

func TestCheckFileSystem_NamesFaultOfTheFirstExistingParent(t *testing.T) {
	must.NoError(t, testenv.OnSmallDisk(t, func(dir string) error {
		expect := func(reason string) error {
			err := CheckFileSystem(filepath.Join(dir, "missing", "state"))
			if reason == "" {
				return err
			}
			if err == nil || !strings.Contains(err.Error(), reason) || !strings.Contains(err.Error(), dir+" ") {
				return fmt.Errorf("want an error of %s with %q, got %w", dir, reason, err)
			}
			return nil
		}
		remount := func(flags uintptr) error { return unix.Mount("", dir, "", unix.MS_REMOUNT|flags, "") }
		return errors.Join(
			expect(""),
			remount(unix.MS_RDONLY), expect("read-only"),
			remount(unix.MS_NOEXEC), expect("noexec"),
		)
	}))
}

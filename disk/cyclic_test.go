// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"path/filepath"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv/ext4"
)

// debugfs would read a billion blocks to look up /etc/hosts.
func TestPut_EndsOnCyclicDirectory(t *testing.T) {
	t.Parallel()
	ctx := toolContext(t)
	image := filepath.Join(t.TempDir(), "image")
	must.NoError(t, ext4.MakeCyclicDirectory(image))
	err := Put(ctx, Sandbox{}, image, []File{textFile("/etc/hosts", "x")})
	must.ErrorIs(t, err, ErrDamaged)
	must.ErrorContains(t, err, "processor time")
}

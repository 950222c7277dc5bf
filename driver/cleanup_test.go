// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/shoenig/test/must"
)

// An executor of a killed plugin writes files until it notices that.
func TestRemoveDir_WaitsForAWriter(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "task")
	must.NoError(t, os.Mkdir(dir, 0o700))
	started, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for n := range 20_000 {
			if os.WriteFile(filepath.Join(dir, strconv.Itoa(n)), nil, 0o600) != nil {
				return
			}
			if n == 100 {
				close(started)
			}
		}
	}()
	<-started
	must.NoError(t, removeDir(t.Context(), dir))
	<-ended
	must.DirNotExists(t, dir)
}

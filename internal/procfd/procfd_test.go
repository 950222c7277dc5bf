// SPDX-License-Identifier: MPL-2.0

package procfd

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/shoenig/test/must"
)

func TestPath_ReopensARemovedFile(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	must.NoError(t, err)
	defer f.Close()
	_, err = f.WriteString("content")
	must.NoError(t, err)
	must.NoError(t, os.Remove(f.Name()))
	for _, path := range []string{Path(f), SelfPath(f)} {
		content, err := os.ReadFile(path)
		must.NoError(t, err)
		must.Eq(t, "content", string(content))
	}
}

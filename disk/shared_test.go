// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"
)

// Another process keeps exchanging a file with a link to a secret.
func TestBuild_SharedDirectoryDoesNotLeakHostFiles(t *testing.T) {
	dir, secret := t.TempDir(), filepath.Join(t.TempDir(), "secret")
	file, link := filepath.Join(dir, "file"), filepath.Join(dir, "link")
	must.NoError(t, os.WriteFile(secret, []byte("only root may read this"), 0o600))
	must.NoError(t, os.WriteFile(file, []byte("public"), 0o644))
	must.NoError(t, os.Symlink(secret, link))
	stop, stopped := make(chan bool), make(chan error)
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				if err := unix.Renameat2(unix.AT_FDCWD, file, unix.AT_FDCWD, link, unix.RENAME_EXCHANGE); err != nil {
					stopped <- err
					return
				}
			}
		}
	}()
	built := 0
	for range 40 {
		image := filepath.Join(t.TempDir(), "image")
		err := Build(t.Context(), dir, image, BuildOptions{})
		if err != nil {
			continue // the file had changed
		}
		built++
		content, err := os.ReadFile(image)
		must.NoError(t, err)
		must.False(t, bytes.Contains(content, []byte("only root")))
	}
	close(stop)
	must.NoError(t, <-stopped)
	t.Logf("%d of 40 images were built", built)
	must.Positive(t, built, must.Sprint("no image was built, so the test has shown nothing"))
}

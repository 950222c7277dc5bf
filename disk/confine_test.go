// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"
)

func TestConfine_AToolReadsItsDirectoryAlone(t *testing.T) {
	dir, outside := t.TempDir(), filepath.Join(t.TempDir(), "secret")
	inside := filepath.Join(dir, "own")
	for _, path := range []string{inside, outside} {
		must.NoError(t, os.WriteFile(path, []byte("text"), 0o644))
	}
	must.NoError(t, os.Symlink(outside, filepath.Join(dir, "link")))
	image, err := os.CreateTemp(t.TempDir(), "")
	must.NoError(t, err)
	defer image.Close()
	root, err := os.Open(dir)
	must.NoError(t, err)
	defer root.Close()
	for path, readable := range map[string]bool{
		inside: true, imagePath: true, outside: false, filepath.Join(dir, "link"): false, "/etc/passwd": false,
	} {
		cmd := exec.Command("cat", path)
		cmd.ExtraFiles = []*os.File{image, root}
		err := runToolBy(t.Context(), cmd, startConfined(true))
		must.Eq(t, readable, err == nil, must.Sprint(path, err))
	}
}

// Somebody exchanges a file for a link to a secret and back, all the time.
func TestBuild_ASharedDirectoryLeadsNowhereElse(t *testing.T) {
	dir, secret := t.TempDir(), filepath.Join(t.TempDir(), "secret")
	file, link := filepath.Join(dir, "file"), filepath.Join(dir, "link")
	must.NoError(t, os.WriteFile(secret, []byte("nobody else may read this"), 0o600))
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
		err := Build(t.Context(), dir, image, BuildOptions{Shared: true})
		if err != nil {
			continue // it met the link, or a change, and gave up
		}
		built++
		content, err := os.ReadFile(image)
		must.NoError(t, err)
		must.False(t, bytes.Contains(content, []byte("nobody else")))
	}
	close(stop)
	must.NoError(t, <-stopped)
	t.Logf("%d of 40 images were built", built)
	must.Positive(t, built, must.Sprint("none was built: nothing was looked at"))
}

// SPDX-License-Identifier: MPL-2.0

package image_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/image"
	"github.com/lkl-nomad/nomad-driver-lkl/image/reference"
)

// change replaces the content of a file.
func change(t *testing.T, path string, f func([]byte) []byte) {
	t.Helper()
	content, err := os.ReadFile(path)
	must.NoError(t, err)
	must.NoError(t, os.WriteFile(path, f(content), 0o600))
}

func one(t *testing.T, pattern ...string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(pattern...))
	must.NoError(t, err)
	must.Len(t, 1, found)
	return found[0]
}

// damages are ways in which a store can be damaged while no process uses it.
func damages(t *testing.T) map[string]func(dir string) {
	flip := func(b []byte) []byte { b = bytes.Clone(b); b[len(b)/2] ^= 1; return b }
	truncate := func(b []byte) []byte { return b[:len(b)-1] }
	nothing := func([]byte) []byte { return nil }
	remove := func(path string) { must.NoError(t, os.RemoveAll(path)) }
	return map[string]func(string){
		"kernel flipped":   func(dir string) { change(t, one(t, dir, "entries/*/kernel"), flip) },
		"kernel truncated": func(dir string) { change(t, one(t, dir, "entries/*/kernel"), truncate) },
		"kernel missing":   func(dir string) { remove(one(t, dir, "entries/*/kernel")) },
		"kernel a directory": func(dir string) {
			path := one(t, dir, "entries/*/kernel")
			remove(path)
			must.NoError(t, os.Mkdir(path, 0o700))
		},
		"root flipped": func(dir string) {
			change(t, one(t, dir, "entries/*/rootfs"), func(b []byte) []byte {
				at := bytes.Index(b, []byte("oneone"))
				b[at] ^= 1
				return b
			})
		},
		"root truncated":   func(dir string) { must.NoError(t, os.Truncate(one(t, dir, "entries/*/rootfs"), 4096)) },
		"root missing":     func(dir string) { remove(one(t, dir, "entries/*/rootfs")) },
		"record flipped":   func(dir string) { change(t, one(t, dir, "entries/*/entry.json"), flip) },
		"record empty":     func(dir string) { change(t, one(t, dir, "entries/*/entry.json"), nothing) },
		"record missing":   func(dir string) { remove(one(t, dir, "entries/*/entry.json")) },
		"verified flipped": func(dir string) { change(t, one(t, dir, "entries/*/verified.json"), flip) },
		"verified missing": func(dir string) { remove(one(t, dir, "entries/*/verified.json")) },
		"kernel and verified": func(dir string) {
			change(t, one(t, dir, "entries/*/kernel"), flip)
			change(t, one(t, dir, "entries/*/verified.json"), flip)
		},
		"entry empty": func(dir string) {
			path := one(t, dir, "entries/*")
			remove(path)
			must.NoError(t, os.Mkdir(path, 0o700))
		},
		"entry a file": func(dir string) { path := one(t, dir, "entries/*"); remove(path); writeText(t, path) },
		"entry a symlink": func(dir string) {
			path := one(t, dir, "entries/*")
			remove(path)
			must.NoError(t, os.Symlink("/", path))
		},
		"image flipped": func(dir string) { change(t, one(t, dir, "images/*"), flip) },
		"image empty":   func(dir string) { change(t, one(t, dir, "images/*"), nothing) },
		"image missing": func(dir string) { remove(one(t, dir, "images/*")) },
		"ref flipped":   func(dir string) { change(t, one(t, dir, "refs/*"), flip) },
		"ref truncated": func(dir string) { change(t, one(t, dir, "refs/*"), truncate) },
		"ref missing":   func(dir string) { remove(one(t, dir, "refs/*")) },
		"everything": func(dir string) {
			remove(one(t, dir, "refs/*"))
			remove(one(t, dir, "images/*"))
			remove(one(t, dir, "entries/*"))
		},
	}
}

func writeText(t *testing.T, path string) {
	t.Helper()
	must.NoError(t, os.WriteFile(path, []byte("text"), 0o600))
}

// checkWeb checks that an entry contains webImage(t, "one").
func checkWeb(t testing.TB, e *image.Entry) {
	t.Helper()
	kernel, err := os.ReadFile(e.KernelFile)
	must.NoError(t, err)
	must.Eq(t, lklKernel("one"), string(kernel))
	root, err := os.ReadFile(e.RootFile)
	must.NoError(t, err)
	must.True(t, bytes.Contains(root, []byte("oneoneone")))
}

func TestGet_RebuildsDamagedEntries(t *testing.T) {
	s := newServer(t)
	ref := s.push(t, "web:1", webImage(t, "one"))
	for name, damage := range damages(t) {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			pull(t, dir, s, ref)
			damage(dir)
			store := openStore(t, dir, s)
			e := get(t, store, image.Request{Reference: ref})
			checkWeb(t, e)
			must.NoError(t, e.Close())
			must.True(t, get(t, openStore(t, dir, s), image.Request{Reference: ref, Policy: image.PolicyNever}).Cached)
		})
	}
}

func TestGC_RemovesDamagedEntries(t *testing.T) {
	s := newServer(t)
	ref := s.push(t, "web:1", webImage(t, "one"))
	for name, damage := range damages(t) {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			pull(t, dir, s, ref)
			damage(dir)
			store := openStore(t, dir, s)
			_, err := store.List()
			must.NoError(t, err)
			_, err = store.GC(t.Context(), image.GCOptions{All: true})
			must.NoError(t, err)
			must.SliceEmpty(t, treeOf(t, dir))
		})
	}
}

// pull brings in an image with a new store, as another process does.
func pull(t *testing.T, dir string, s *server, ref reference.Reference) {
	t.Helper()
	store := openStore(t, dir, s)
	e, err := store.Get(t.Context(), image.Request{Reference: ref})
	must.NoError(t, err)
	must.NoError(t, e.Close())
	must.NoError(t, store.Close())
}

func TestGet_ReportsADamagedEntryThatItMayNotPull(t *testing.T) {
	s := newServer(t)
	ref := s.push(t, "web:1", webImage(t, "one"))
	dir := t.TempDir()
	pull(t, dir, s, ref)
	change(t, one(t, dir, "entries/*/kernel"), func(b []byte) []byte { b[100] ^= 1; return b })
	_, err := openStore(t, dir, s).Get(t.Context(), image.Request{Reference: ref, Policy: image.PolicyNever})
	must.ErrorIs(t, err, image.ErrNotCached)
	must.ErrorContains(t, err, "digest of kernel")
}

func TestGet_LeavesTheKernelOfATaskWhenItRebuilds(t *testing.T) {
	s := newServer(t)
	ref := s.push(t, "web:1", webImage(t, "one"))
	dir := t.TempDir()
	pull(t, dir, s, ref)
	task := filepath.Join(t.TempDir(), "kernel")
	must.NoError(t, os.Link(one(t, dir, "entries/*/kernel"), task))
	must.NoError(t, os.Remove(one(t, dir, "entries/*/rootfs")))
	checkWeb(t, get(t, openStore(t, dir, s), image.Request{Reference: ref}))
	kernel, err := os.ReadFile(task)
	must.NoError(t, err)
	must.Eq(t, lklKernel("one"), string(kernel))
}

// otherVersion rewrites a record as a later version of the driver would.
func otherVersion(t *testing.T, path string) {
	t.Helper()
	change(t, path, func(b []byte) []byte {
		_, body, _ := bytes.Cut(b, []byte("\n"))
		body = bytes.Replace(bytes.TrimSpace(body), []byte(`"version":1`), []byte(`"version":2`), 1)
		return fmt.Appendf(nil, "%x\n%s\n", sha256.Sum256(body), body)
	})
}

// SPDX-License-Identifier: MPL-2.0

package image_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/image"
	"github.com/lkl-nomad/nomad-driver-lkl/image/spec"
)

// age sets the last use of all entries of a store.
func age(t *testing.T, dir string, d time.Duration) {
	t.Helper()
	entries, err := filepath.Glob(filepath.Join(dir, "entries/*"))
	must.NoError(t, err)
	for _, entry := range entries {
		used := time.Now().Add(-d)
		must.NoError(t, os.Chtimes(entry, used, used))
	}
}

func collect(t *testing.T, store *image.Store, o image.GCOptions) image.GCReport {
	t.Helper()
	report, err := store.GC(t.Context(), o)
	must.NoError(t, err)
	return report
}

func TestGC_SparesImagesInUse(t *testing.T) {
	s := newServer(t)
	dir := t.TempDir()
	store := openStore(t, dir, s)
	ref := s.push(t, "web:1", webImage(t, "one"))
	e := get(t, store, image.Request{Reference: ref})
	all := image.GCOptions{All: true, MaxAge: 1, MaxBytes: 1}

	// A start that has no link yet.
	report := collect(t, openStore(t, dir, s), all)
	must.SliceEmpty(t, report.Removed)
	must.Positive(t, report.KeptBytes)
	must.Eq(t, report.KeptBytes, report.UsedBytes)
	_, err := store.Remove(t.Context(), ref.String())
	must.ErrorIs(t, err, image.ErrInUse)

	// A task, perhaps of an earlier process.
	task := filepath.Join(t.TempDir(), "kernel")
	must.NoError(t, os.Link(e.KernelFile, task))
	must.NoError(t, e.Close())
	must.SliceEmpty(t, collect(t, openStore(t, dir, s), all).Removed)
	_, err = store.Remove(t.Context(), ref.String())
	must.ErrorIs(t, err, image.ErrInUse)
	must.ErrorContains(t, err, "1 running")
	images, err := store.List()
	must.NoError(t, err)
	must.Eq(t, 1, images[0].Kernels[0].Tasks)

	must.NoError(t, os.Remove(task))
	report = collect(t, store, all)
	must.Len(t, 1, report.Removed)
	must.Eq(t, []string{ref.String()}, report.Removed[0].References)
	must.Positive(t, report.FreedBytes)
	must.SliceEmpty(t, treeOf(t, dir))
}

func TestGC_RemovesByAgeSinceTheLastUse(t *testing.T) {
	s := newServer(t)
	dir := t.TempDir()
	store := openStore(t, dir, s)
	ref := s.push(t, "web:1", webImage(t, "one"))
	must.NoError(t, get(t, store, image.Request{Reference: ref}).Close())
	age(t, dir, 2*time.Hour)
	// The end of a task is a use: it changes the ctime of the kernel.
	must.SliceEmpty(t, collect(t, store, image.GCOptions{MaxAge: time.Hour}).Removed)
	must.SliceEmpty(t, collect(t, store, image.GCOptions{}).Removed)
	must.Len(t, 1, collect(t, store, image.GCOptions{MaxAge: 1, DryRun: true}).Removed)
	must.True(t, get(t, store, image.Request{Reference: ref}).Cached)
	must.SliceEmpty(t, collect(t, store, image.GCOptions{MaxAge: time.Hour}).Removed)
	must.NoError(t, get(t, store, image.Request{Reference: ref}).Close())
}

func TestGC_RemovesTheLeastRecentlyUsedToSaveSpace(t *testing.T) {
	s := newServer(t)
	dir := t.TempDir()
	store := openStore(t, dir, s)
	for i := range 3 {
		img := webImage(t, fmt.Sprint("image ", i))
		must.NoError(t, get(t, store, image.Request{Reference: s.push(t, fmt.Sprint("web:", i), img)}).Close())
	}
	first := parse(t, s.host()+"/web:0")
	must.NoError(t, get(t, store, image.Request{Reference: first}).Close()) // used last
	images, err := store.List()
	must.NoError(t, err)
	must.Len(t, 3, images)
	must.Eq(t, []string{first.String()}, images[0].References)

	report := collect(t, store, image.GCOptions{MaxBytes: images[0].Bytes + images[1].Bytes})
	must.Len(t, 1, report.Removed)
	must.Eq(t, []string{s.host() + "/web:1"}, report.Removed[0].References)
	must.Eq(t, images[0].Bytes+images[1].Bytes, report.KeptBytes)
	must.SliceEmpty(t, collect(t, store, image.GCOptions{MaxBytes: report.KeptBytes}).Removed)
}

func TestGC_RemovesTheRemainsOfEndedProcesses(t *testing.T) {
	dir := t.TempDir()
	store := openStore(t, dir, nil)
	for _, name := range []string{"builds/key.123/kernel", "builds/text", "locks/key", "refs/x.new", "refs/garbage", "images/sha256-00.new", "entries/garbage/file"} {
		path := filepath.Join(dir, name)
		must.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		writeText(t, path)
	}
	must.NoError(t, os.Symlink("/", filepath.Join(dir, "builds/link")))
	collect(t, store, image.GCOptions{})
	must.SliceEmpty(t, treeOf(t, dir))
}

func TestGC_KeepsEntriesOfAnotherVersion(t *testing.T) {
	s := newServer(t)
	dir := t.TempDir()
	pull(t, dir, s, s.push(t, "web:1", webImage(t, "one")))
	for _, record := range []string{"entries/*/entry.json", "images/*", "refs/*"} {
		otherVersion(t, one(t, dir, record))
	}
	store := openStore(t, dir, s)
	before := treeOf(t, dir)
	collect(t, store, image.GCOptions{MaxAge: 1})
	must.Eq(t, before, treeOf(t, dir))
	collect(t, store, image.GCOptions{All: true})
	must.SliceEmpty(t, treeOf(t, dir))
}

func TestRemove_RemovesOneOfSeveralReferences(t *testing.T) {
	s := newServer(t)
	dir := t.TempDir()
	store := openStore(t, dir, s)
	img := webImage(t, "one")
	for _, tag := range []string{"web:1", "web:2"} {
		must.NoError(t, get(t, store, image.Request{Reference: s.push(t, tag, img)}).Close())
	}
	removal, err := store.Remove(t.Context(), s.host()+"/web:1")
	must.NoError(t, err)
	must.Eq(t, []string{s.host() + "/web:1"}, removal.References)
	must.Zero(t, removal.Bytes)
	found, err := store.Inspect(s.host() + "/web:2")
	must.NoError(t, err)
	must.Eq(t, digestOf(t, img), found.Digest)
	_, err = store.Inspect(s.host() + "/web:1")
	must.ErrorIs(t, err, image.ErrNoImage)

	removal, err = store.Remove(t.Context(), s.host()+"/web:2")
	must.NoError(t, err)
	must.Positive(t, removal.Bytes)
	must.SliceEmpty(t, treeOf(t, dir))
}

func TestRemove_TakesDigests(t *testing.T) {
	s := newServer(t)
	dir := t.TempDir()
	img := webImage(t, "one")
	digest := digestOf(t, img)
	ref := s.push(t, "web:1", img)
	for _, name := range []string{digest, digest[len("sha256:"):][:12]} {
		pull(t, dir, s, ref)
		store := openStore(t, dir, s)
		_, err := store.Remove(t.Context(), "sha256:0000")
		must.ErrorIs(t, err, image.ErrNoImage)
		_, err = store.Remove(t.Context(), name)
		must.NoError(t, err)
		must.SliceEmpty(t, treeOf(t, dir))
	}
}

func TestList_DescribesImages(t *testing.T) {
	s := newServer(t)
	dir := t.TempDir()
	store := openStore(t, dir, s)
	images, err := store.List()
	must.NoError(t, err)
	must.SliceEmpty(t, images)
	img := webImage(t, "one")
	ref := s.push(t, "web:1", img)
	e := get(t, store, image.Request{Reference: ref})
	images, err = store.List()
	must.NoError(t, err)
	must.Len(t, 1, images)
	got := images[0]
	must.Eq(t, digestOf(t, img), got.Digest)
	must.Eq(t, []string{ref.String()}, got.References)
	must.Eq(t, spec.Config{Entrypoint: []string{"/web.spt"}, Env: []string{"A=1"}}, got.Config)
	must.Len(t, 1, got.Kernels)
	k := got.Kernels[0]
	must.Eq(t, image.Kernel{
		Path: "/web.spt", KernelFile: e.KernelFile, SHA256: e.KernelDigest, Target: "spt", ABI: 2, Starting: true,
		KernelBytes: int64(len(lklKernel("one"))), RootBytes: k.RootBytes, Bytes: k.Bytes, LastUsed: k.LastUsed,
	}, k)
	must.Greater(t, image.RootRoom, k.RootBytes)
	must.Positive(t, got.DownloadBytes)
	must.Less(t, k.RootBytes, got.Bytes) // holes take no space
}

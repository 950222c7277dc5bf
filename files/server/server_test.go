// SPDX-License-Identifier: MPL-2.0

package server_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/files/fuse"
)

func TestServe_ReadsAFile(t *testing.T) {
	dir := t.TempDir()
	write(t, "hello", dir, "a")
	c := connect(t, []string{dir})
	node := c.walk("0", "a")
	fh, errno := c.open(fuse.Open, node, unix.O_RDONLY)
	must.Zero(t, errno)
	out, errno := c.call(fuse.Read, node, &fuse.ReadIn{FH: fh, Offset: 1, Size: 4096})
	must.Zero(t, errno)
	must.Eq(t, "ello", string(out))
	_, errno = c.call(fuse.Release, node, &fuse.ReleaseIn{FH: fh})
	must.Zero(t, errno)
	_, errno = c.call(fuse.Read, node, &fuse.ReadIn{FH: fh, Size: 4096})
	must.Eq(t, unix.EBADF, errno)
}

func TestServe_ListsShares(t *testing.T) {
	file := write(t, "content", t.TempDir(), "file")
	c := connect(t, []string{t.TempDir(), file})
	must.Eq(t, []string{".", "..", "0", "1"}, c.list(fuse.RootID, 40))
	entry, errno := c.lookup(fuse.RootID, "1")
	must.Zero(t, errno)
	must.Eq(t, unix.S_IFREG|0o644, entry.Attr.Mode)
	must.Eq(t, 1, entry.Attr.Ino>>56)
	for _, name := range []string{"2", "00", "01", "-1", "1000", "x"} {
		_, errno := c.lookup(fuse.RootID, name)
		must.Eq(t, unix.ENOENT, errno, must.Sprint(name))
	}
}

func TestServe_ListsEveryEntryOnce(t *testing.T) {
	dir := t.TempDir()
	want := []string{".", ".."}
	for i := range 3000 {
		name := numbered(strings.Repeat("n", 1+i%240), i)
		write(t, "", dir, name)
		want = append(want, name)
	}
	c := connect(t, []string{dir})
	slices.Sort(want)
	for _, size := range []uint32{300, 1000, 4096, 65536} {
		names := c.list(c.walk("0"), size)
		slices.Sort(names)
		must.Eq(t, want, names, must.Sprint(size))
	}
}

func TestServe_ClosesWhatTheGuestForgets(t *testing.T) {
	dir := t.TempDir()
	for i := range 50 {
		write(t, "", dir, numbered("f", i))
	}
	c := connect(t, []string{dir})
	root := c.walk("0")
	before := openFDs(t)
	var forgets []any
	for i := range 50 {
		entry, errno := c.lookup(root, numbered("f", i))
		must.Zero(t, errno)
		forgets = append(forgets, &fuse.ForgetOne{NodeID: entry.NodeID, Nlookup: 1})
	}
	must.Eq(t, before+50, openFDs(t))
	c.send(fuse.BatchForget, 0, append([]any{&fuse.BatchForgetIn{Count: 50}}, forgets...)...)
	_, errno := c.call(fuse.Statfs, fuse.RootID)
	must.Zero(t, errno)
	must.Eq(t, before, openFDs(t))
}

func TestServe_KeepsAnOpenFileThatIsRemoved(t *testing.T) {
	dir := t.TempDir()
	path := write(t, "hello", dir, "a")
	c := connect(t, []string{dir})
	root := c.walk("0")
	node := c.walk("0", "a")
	fh, errno := c.open(fuse.Open, node, unix.O_RDWR)
	must.Zero(t, errno)
	_, errno = c.call(fuse.Unlink, root, "a")
	must.Zero(t, errno)
	_, err := os.Lstat(path)
	must.ErrorIs(t, err, os.ErrNotExist)
	out, errno := c.call(fuse.Getattr, node, &fuse.GetattrIn{})
	must.Zero(t, errno)
	attributes, _ := fuse.View[fuse.AttrOut](out)
	must.Eq(t, 0, attributes.Attr.Nlink)
	out, errno = c.call(fuse.Read, node, &fuse.ReadIn{FH: fh, Size: 100})
	must.Zero(t, errno)
	must.Eq(t, "hello", string(out))
}

func TestServe_CreatesForTheCaller(t *testing.T) {
	dir := t.TempDir()
	c := connect(t, []string{dir})
	root := c.walk("0")
	out, errno := c.call(fuse.Create, root, &fuse.CreateIn{Flags: unix.O_RDWR, Mode: unix.S_IFREG | 0o640}, "new")
	must.Zero(t, errno)
	created, _ := fuse.View[fuse.CreateOut](out)
	must.NotNil(t, created)
	out, errno = c.call(fuse.Write, created.Entry.NodeID, &fuse.WriteIn{FH: created.Open.FH, Size: 4}, []byte("data"))
	must.Zero(t, errno)
	written, _ := fuse.View[fuse.WriteOut](out)
	must.Eq(t, 4, written.Size)
	content, err := os.ReadFile(filepath.Join(dir, "new"))
	must.NoError(t, err)
	must.Eq(t, "data", string(content))
	info, err := os.Stat(filepath.Join(dir, "new"))
	must.NoError(t, err)
	must.Eq(t, 0o640, info.Mode())
}

// A program may clear O_APPEND of an open file, and the guest's kernel writes mapped pages of
// such a file at their places.
func TestServe_AppendsIfTheRequestSaysSo(t *testing.T) {
	dir := t.TempDir()
	path := write(t, "0123", dir, "a")
	c := connect(t, []string{dir})
	node := c.walk("0", "a")
	fh, errno := c.open(fuse.Open, node, unix.O_WRONLY|unix.O_APPEND)
	must.Zero(t, errno)
	for _, flags := range []uint32{unix.O_WRONLY | unix.O_APPEND, unix.O_WRONLY} {
		_, errno = c.call(fuse.Write, node, &fuse.WriteIn{FH: fh, Offset: 1, Size: 1, Flags: flags}, []byte("x"))
		must.Zero(t, errno)
	}
	content, err := os.ReadFile(path)
	must.NoError(t, err)
	must.Eq(t, "0x23x", string(content))
}

// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"
)

// makeTarSource makes a directory with a file of each type that needs no privileges.
func makeTarSource(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	must.NoError(t, os.Chmod(dir, 0o755))
	must.NoError(t, os.MkdirAll(filepath.Join(dir, "b/c"), 0o755))
	must.NoError(t, os.Chmod(filepath.Join(dir, "b"), 0o751))
	must.NoError(t, os.WriteFile(filepath.Join(dir, "b/file"), []byte("content"), 0o600))
	must.NoError(t, unix.Chmod(filepath.Join(dir, "b/file"), 0o4751))
	must.NoError(t, os.Link(filepath.Join(dir, "b/file"), filepath.Join(dir, "b/name2")))
	must.NoError(t, os.Symlink("../b/file", filepath.Join(dir, "a")))
	must.NoError(t, unix.Mkfifo(filepath.Join(dir, "fifo"), 0o640))
	socket, err := net.Listen("unix", filepath.Join(dir, "socket"))
	must.NoError(t, err)
	t.Cleanup(func() { socket.Close() })
	return dir
}

func writeTar(t *testing.T, dir string, o TarOptions) []byte {
	t.Helper()
	var archive bytes.Buffer
	must.NoError(t, WriteTar(t.Context(), dir, &archive, o))
	return archive.Bytes()
}

func TestWriteTar_KeepsTypesModesAndLinks(t *testing.T) {
	dir := makeTarSource(t)
	xattr := true
	if err := unix.Setxattr(filepath.Join(dir, "b/file"), "user.test", []byte("a\x00=b"), 0); err != nil {
		must.ErrorIs(t, err, unix.EOPNOTSUPP)
		xattr = false
	}
	r := tar.NewReader(bytes.NewReader(writeTar(t, dir, TarOptions{Newest: time.Unix(0, 0)})))
	var got []string
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		must.NoError(t, err)
		content, err := io.ReadAll(r)
		must.NoError(t, err)
		must.Eq(t, 0, h.Uid)
		must.Eq(t, 0, h.Gid)
		must.Eq(t, time.Unix(0, 0), h.ModTime)
		if h.Name == "b/file" && xattr {
			must.Eq(t, "a\x00=b", h.PAXRecords["SCHILY.xattr.user.test"])
		}
		got = append(got, fmt.Sprintf("%c %o %s %s %s", h.Typeflag, h.Mode, h.Name, h.Linkname, content))
	}
	must.Eq(t, []string{
		"5 755 ./  ", "2 777 a ../b/file ", "5 751 b/  ", "5 755 b/c/  ", "0 4751 b/file  content",
		"1 4751 b/name2 b/file ", "6 640 fifo  ",
	}, got)
}

func TestWriteTar_GivesTheSameBytesForTheSameFiles(t *testing.T) {
	first := writeTar(t, makeTarSource(t), TarOptions{Newest: time.Unix(0, 0)})
	must.True(t, bytes.Equal(first, writeTar(t, makeTarSource(t), TarOptions{Newest: time.Unix(0, 0)})))
}

func TestWriteTar_KeepsOlderTimesAndOwners(t *testing.T) {
	dir := t.TempDir()
	old, newest := time.Unix(1_000_000, 0), time.Unix(2_000_000, 0)
	must.NoError(t, os.WriteFile(filepath.Join(dir, "new"), nil, 0o644))
	must.NoError(t, os.WriteFile(filepath.Join(dir, "old"), nil, 0o644))
	must.NoError(t, os.Chtimes(filepath.Join(dir, "old"), old, old))
	times := map[string]time.Time{}
	r := tar.NewReader(bytes.NewReader(writeTar(t, dir, TarOptions{Newest: newest, KeepOwners: true})))
	for h, err := r.Next(); !errors.Is(err, io.EOF); h, err = r.Next() {
		must.NoError(t, err)
		must.Eq(t, os.Getuid(), h.Uid)
		times[h.Name] = h.ModTime
	}
	must.Eq(t, map[string]time.Time{"./": newest, "new": newest, "old": old}, times)
}

func TestWriteTar_ReturnsTheWritersError(t *testing.T) {
	r, w, err := os.Pipe()
	must.NoError(t, err)
	r.Close()
	defer w.Close()
	must.ErrorIs(t, WriteTar(t.Context(), makeTarSource(t), w, TarOptions{}), unix.EPIPE)
}

// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/safeopen"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv/ext4"
)

// toolContext returns a context for a test that runs e2fsprogs.
func toolContext(t testing.TB) context.Context {
	t.Helper()
	testenv.Need(t, testenv.Tool("mke2fs"), testenv.Tool("debugfs"), testenv.Tool("resize2fs"), testenv.Tool("e2fsck"))
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// tarFile writes an archive. The Size of each header is set from its body.
func tarFile(t testing.TB, entries ...tarEntry) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "archive")
	must.NoError(t, os.WriteFile(path, tarBytes(t, entries...), 0o600))
	return path
}

type tarEntry struct {
	tar.Header
	body string
}

func tarBytes(t testing.TB, entries ...tarEntry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		e.Size = int64(len(e.body))
		must.NoError(t, w.WriteHeader(&e.Header))
		_, err := io.WriteString(w, e.body)
		must.NoError(t, err)
	}
	must.NoError(t, w.Close())
	return b.Bytes()
}

func gzipped(t testing.TB, plain []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write(plain)
	must.NoError(t, err)
	must.NoError(t, w.Close())
	return b.Bytes()
}

func tarRegular(name, body string) tarEntry {
	return tarEntry{tar.Header{Name: name, Mode: 0o644, Typeflag: tar.TypeReg}, body}
}

func tarSymlink(name, target string) tarEntry {
	return tarEntry{tar.Header{Name: name, Linkname: target, Typeflag: tar.TypeSymlink}, ""}
}

func tarHardLink(name, target string) tarEntry {
	return tarEntry{tar.Header{Name: name, Linkname: target, Typeflag: tar.TypeLink}, ""}
}

func tarDirectory(name string) tarEntry {
	return tarEntry{tar.Header{Name: name, Mode: 0o755, Typeflag: tar.TypeDir}, ""}
}

// buildChecked builds an image and checks it with e2fsck.
func buildChecked(t testing.TB, src string, o BuildOptions) string {
	t.Helper()
	image := filepath.Join(t.TempDir(), "image")
	must.NoError(t, Build(t.Context(), src, image, o))
	must.NoError(t, ext4.Check(image))
	return image
}

// fileStatus is the output of debugfs's stat.
type fileStatus struct {
	kind           string
	mode           int64
	uid, gid       int64
	size, links    int64
	mtime          int64
	link           string
	device         string
	missing, exist bool
}

var (
	statPattern = regexp.MustCompile(
		`Type: (\S+(?: \S+)?)\s+Mode:\s+(\d+)[\s\S]*User:\s+(-?\d+)\s+Group:\s+(-?\d+)[\s\S]*?Size: (\d+)[\s\S]*?Links: (\d+)`)
	linkPattern   = regexp.MustCompile(`Fast link dest: "(.*)"`)
	mtimePattern  = regexp.MustCompile(`mtime: 0x([0-9a-f]{8})`)
	devicePattern = regexp.MustCompile(`Device major/minor number: (\d+):(\d+)`)
)

func statFile(t testing.TB, image, path string) fileStatus {
	t.Helper()
	out := runDebugfs(t, image, "stat "+ext4.Quote(path))
	if strings.Contains(out, "File not found") {
		return fileStatus{missing: true}
	}
	m := statPattern.FindStringSubmatch(out)
	must.SliceLen(t, 7, m, must.Sprintf("stat %q: %s", path, out))
	s := fileStatus{exist: true, kind: m[1], mode: number(t, m[2], 8)}
	s.uid, s.gid = number(t, m[3], 10)&(1<<32-1), number(t, m[4], 10)&(1<<32-1)
	s.size, s.links = number(t, m[5], 10), number(t, m[6], 10)
	s.mtime = number(t, mtimePattern.FindStringSubmatch(out)[1], 16)
	if m := linkPattern.FindStringSubmatch(out); m != nil {
		s.link = m[1]
	}
	if m := devicePattern.FindStringSubmatch(out); m != nil {
		s.device = m[1] + ":" + m[2]
	}
	return s
}

func number(t testing.TB, text string, base int) int64 {
	t.Helper()
	n, err := strconv.ParseInt(text, base, 64)
	must.NoError(t, err)
	return n
}

// runDebugfs runs one command of debugfs on an image, without changing it.
func runDebugfs(t testing.TB, image, command string) string {
	t.Helper()
	out, err := ext4.Debugfs(image, command)
	must.NoError(t, err)
	return out
}

// readFile returns the content of a file of an image.
func readFile(t testing.TB, image, path string) string {
	t.Helper()
	content, err := ext4.ReadFile(image, path)
	must.NoError(t, err)
	return string(content)
}

func writeFile(t testing.TB, path, body string) string {
	t.Helper()
	must.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	must.NoError(t, os.WriteFile(path, []byte(body), 0o644))
	return path
}

func TestKindOf_DependsOnContent(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ext := make([]byte, 4096)
	ext[1080], ext[1081] = 0x53, 0xef
	plain := tarBytes(t, tarRegular("a", "b"))
	v7 := tarBytes(t, tarRegular("a", "b"))
	copy(v7[257:], make([]byte, 8)) // no magic, only the checksum
	sum := 0
	copy(v7[148:], "        ")
	for _, b := range v7[:512] {
		sum += int(b)
	}
	copy(v7[148:], []byte("0"+strconv.FormatInt(int64(sum), 8)+"\x00 "))
	for _, c := range []struct {
		name string
		body []byte
		kind Kind
	}{
		{"tar", plain, Tar},
		{"image.ext4", gzipped(t, plain), Tar},
		{"old tar", v7, Tar},
		{"ext4 magic.tar.gz", ext, Ext4},
		{"text.tar", []byte("hello"), 0},
		{"empty.tar", nil, 0},
		{"gzip of text.tar.gz", gzipped(t, []byte("hello")), 0},
		{"truncated gzip.tar.gz", gzipped(t, plain)[:20], 0},
		{"zeros.ext4", make([]byte, 8192), 0},
	} {
		path := filepath.Join(dir, c.name)
		must.NoError(t, os.WriteFile(path, c.body, 0o600))
		kind, err := KindOf(path)
		must.Eq(t, c.kind, kind, must.Sprint(c.name))
		if c.kind == 0 {
			must.ErrorIs(t, err, ErrKind)
		} else {
			must.NoError(t, err)
		}
	}
	kind, err := KindOf(dir)
	must.NoError(t, err)
	must.Eq(t, Directory, kind)
	_, err = KindOf("/dev/null")
	must.ErrorIs(t, err, ErrKind)
	_, err = KindOf(filepath.Join(dir, "missing"))
	must.ErrorIs(t, err, os.ErrNotExist)
}

// Opening a device can have effects, even if nothing is read.
func TestImages_DoNotOpenOtherTypesOfFiles(t *testing.T) {
	t.Parallel()
	ctx := toolContext(t)
	testenv.Need(t, testenv.Root)
	dir := t.TempDir()
	fifo, device := filepath.Join(dir, "fifo"), filepath.Join(dir, "device")
	must.NoError(t, unix.Mkfifo(fifo, 0o600))
	must.NoError(t, unix.Mknod(device, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))))
	for _, path := range []string{fifo, device} {
		opens := testenv.Opens(t, path)
		_, err := KindOf(path)
		must.ErrorIs(t, err, ErrKind)
		must.ErrorIs(t, Copy(ctx, path, filepath.Join(dir, "copy")), safeopen.ErrType)
		must.ErrorIs(t, Grow(ctx, Sandbox{}, path, 64<<20), safeopen.ErrType)
		must.ErrorIs(t, Put(ctx, Sandbox{}, path, []File{textFile("/x", "x")}), safeopen.ErrType)
		must.Eq(t, 0, opens(), must.Sprint(path))
	}
}

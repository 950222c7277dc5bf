// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// begin is how each test begins that runs the real tools.
func begin(t testing.TB) context.Context {
	t.Helper()
	testenv.Need(t, testenv.Tool("mke2fs"), testenv.Tool("debugfs"), testenv.Tool("resize2fs"), testenv.Tool("e2fsck"))
	ctx, stop := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(stop)
	return ctx
}

// tarFile writes an archive; a header's Size is that of its body.
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

func regular(name, body string) tarEntry {
	return tarEntry{tar.Header{Name: name, Mode: 0o644, Typeflag: tar.TypeReg}, body}
}

func symlink(name, target string) tarEntry {
	return tarEntry{tar.Header{Name: name, Linkname: target, Typeflag: tar.TypeSymlink}, ""}
}

func hardlink(name, target string) tarEntry {
	return tarEntry{tar.Header{Name: name, Linkname: target, Typeflag: tar.TypeLink}, ""}
}

func directory(name string) tarEntry {
	return tarEntry{tar.Header{Name: name, Mode: 0o755, Typeflag: tar.TypeDir}, ""}
}

// build makes an image and has e2fsck look at it.
func build(t testing.TB, src string, o BuildOptions) string {
	t.Helper()
	image := filepath.Join(t.TempDir(), "image")
	must.NoError(t, Build(t.Context(), src, image, o))
	must.NoError(t, Check(t.Context(), image))
	return image
}

// status is what debugfs's stat says, read by other means than the product's.
type status struct {
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

func stat(t testing.TB, image, path string) status {
	t.Helper()
	out := debug(t, image, `stat "`+strings.ReplaceAll(path, `"`, `""`)+`"`)
	if strings.Contains(out, "File not found") {
		return status{missing: true}
	}
	m := statPattern.FindStringSubmatch(out)
	must.SliceLen(t, 7, m, must.Sprintf("stat %q: %s", path, out))
	s := status{exist: true, kind: m[1], mode: number(t, m[2], 8)}
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

// debug runs one command of debugfs, read only.
func debug(t testing.TB, image, request string) string {
	t.Helper()
	out, err := exec.Command("debugfs", "-R", request, image).CombinedOutput()
	must.NoError(t, err, must.Sprint(string(out)))
	return string(out)
}

// content is a file of an image.
func content(t testing.TB, image, path string) string {
	t.Helper()
	got, err := Get(t.Context(), image, path)
	must.NoError(t, err)
	return string(got)
}

func writeFile(t testing.TB, path, body string) string {
	t.Helper()
	must.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	must.NoError(t, os.WriteFile(path, []byte(body), 0o644))
	return path
}

func TestKind_IsJudgedByContent(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ext := make([]byte, 4096)
	ext[1080], ext[1081] = 0x53, 0xef
	plain := tarBytes(t, regular("a", "b"))
	v7 := tarBytes(t, regular("a", "b"))
	copy(v7[257:], make([]byte, 8)) // no magic: the checksum alone has to do
	sum := 0
	copy(v7[148:], "        ")
	for _, b := range v7[:512] {
		sum += int(b)
	}
	copy(v7[148:], []byte("0"+strconv.FormatInt(int64(sum), 8)+"\x00 "))
	for _, c := range []struct {
		name string
		body []byte
		kind Source
	}{
		{"tar", plain, Tar},
		{"image.ext4", gzipped(t, plain), Tar},
		{"old tar", v7, Tar},
		{"tar of nothing.tar.gz", ext, Ext4},
		{"text.tar", []byte("hello"), 0},
		{"empty.tar", nil, 0},
		{"gzip of text.tar.gz", gzipped(t, []byte("hello")), 0},
		{"gzip cut short.tar.gz", gzipped(t, plain)[:20], 0},
		{"zeros.ext4", make([]byte, 8192), 0},
	} {
		path := filepath.Join(dir, c.name)
		must.NoError(t, os.WriteFile(path, c.body, 0o600))
		kind, err := Kind(path)
		must.Eq(t, c.kind, kind, must.Sprint(c.name))
		if c.kind == 0 {
			must.ErrorIs(t, err, ErrKind)
		} else {
			must.NoError(t, err)
		}
	}
	kind, err := Kind(dir)
	must.NoError(t, err)
	must.Eq(t, Directory, kind)
	_, err = Kind("/dev/null")
	must.ErrorIs(t, err, ErrKind)
	_, err = Kind(filepath.Join(dir, "missing"))
	must.ErrorIs(t, err, os.ErrNotExist)
}

func TestTools_FoundOutsideAnOrdinaryPath(t *testing.T) {
	begin(t)
	t.Setenv("PATH", t.TempDir())
	if _, err := os.Stat("/usr/sbin/mke2fs"); err == nil {
		must.NoError(t, Tools())
	}
}

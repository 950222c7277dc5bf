// SPDX-License-Identifier: MPL-2.0

package safeopen

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// sampleDirectory returns an open directory with a file, a directory and links. Its
// parent directory contains another file.
func sampleDirectory(t *testing.T) *os.File {
	parent := t.TempDir()
	dir := filepath.Join(parent, "dir")
	must.NoError(t, os.MkdirAll(filepath.Join(dir, "sub"), 0o755))
	must.NoError(t, os.WriteFile(filepath.Join(dir, "sub/file"), []byte("inside"), 0o644))
	must.NoError(t, os.WriteFile(filepath.Join(parent, "secret"), []byte("outside"), 0o644))
	for name, target := range map[string]string{
		"link": "sub/file", "sub/up": "../sub/file", "out": "../secret", "absolute": filepath.Join(dir, "sub/file"),
		"magic": "/proc/self/fd/0", "loop": "loop",
	} {
		must.NoError(t, os.Symlink(target, filepath.Join(dir, name)))
	}
	f, err := os.Open(dir)
	must.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

func TestOpenBelow_StaysBelowTheDirectory(t *testing.T) {
	t.Parallel()
	dir := sampleDirectory(t)
	for _, name := range []string{"sub/file", "sub/../sub/file", "link", "sub/up"} {
		f, err := OpenBelow(dir, name, os.O_RDONLY, Regular)
		must.NoError(t, err)
		content, err := io.ReadAll(f)
		must.NoError(t, err)
		must.NoError(t, f.Close())
		must.Eq(t, "inside", string(content))
	}
	for _, name := range []string{"../secret", "out", "absolute", "magic", "loop", "/", "..", dir.Name() + "/sub/file", "missing", ""} {
		_, err := OpenBelow(dir, name, os.O_RDONLY, Regular|Directory)
		must.Error(t, err, must.Sprint(name))
	}
}

func TestOpen_AcceptsOnlyTheGivenTypes(t *testing.T) {
	t.Parallel()
	dir := sampleDirectory(t)
	cases := []struct {
		name     string
		flag     int
		accept   Types
		accepted bool
	}{
		{"sub/file", os.O_RDWR, Regular, true},
		{"sub/file", os.O_RDONLY, Directory, false},
		{"sub", os.O_RDONLY, Directory, true},
		{"sub", os.O_RDONLY, Regular, false},
		{"sub", os.O_RDONLY, Regular | Directory, true},
		{"link", os.O_RDONLY, Regular, true},
		{"link", os.O_RDONLY | unix.O_NOFOLLOW, Regular | Directory, false},
	}
	for _, c := range cases {
		for _, open := range []func() (*os.File, error){
			func() (*os.File, error) { return Open(filepath.Join(dir.Name(), c.name), c.flag, c.accept) },
			func() (*os.File, error) { return OpenBelow(dir, c.name, c.flag, c.accept) },
		} {
			f, err := open()
			if !c.accepted {
				must.ErrorIs(t, err, ErrType, must.Sprint(c.name))
				continue
			}
			must.NoError(t, err, must.Sprint(c.name))
			must.Eq(t, filepath.Join(dir.Name(), c.name), f.Name())
			must.NoError(t, f.Close())
		}
	}
}

// refusedOpens makes a file at a path of the directory, and requires that no function of
// the package opens it.
func refusedOpens(t *testing.T, dir *os.File, name, typeName string) {
	t.Helper()
	path := filepath.Join(dir.Name(), name)
	opens := testenv.Opens(t, path)
	_, err := Open(path, os.O_RDWR, Regular|Directory)
	must.ErrorIs(t, err, ErrType)
	must.ErrorContains(t, err, typeName)
	_, err = OpenBelow(dir, name, os.O_RDWR|unix.O_NOFOLLOW, Regular|Directory)
	must.ErrorIs(t, err, ErrType)
	must.Eq(t, 0, opens())
}

func TestOpen_DoesNotOpenFIFOsAndSockets(t *testing.T) {
	t.Parallel()
	dir := sampleDirectory(t)
	fifo := filepath.Join(dir.Name(), "fifo")
	must.NoError(t, unix.Mkfifo(fifo, 0o600))
	refusedOpens(t, dir, "fifo", "FIFO")

	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir.Name(), "socket"), Net: "unix"})
	must.NoError(t, err)
	defer func() { must.NoError(t, listener.Close()) }()
	refusedOpens(t, dir, "socket", "socket")

	opens := testenv.Opens(t, fifo)
	f, err := os.OpenFile(fifo, os.O_RDWR, 0)
	must.NoError(t, err)
	must.NoError(t, f.Close())
	must.Eq(t, 1, opens(), must.Sprint("the test would not see an open"))
}

func TestOpen_DoesNotOpenDevices(t *testing.T) {
	t.Parallel()
	testenv.Need(t, testenv.Root)
	dir := sampleDirectory(t)
	// No driver has the block device 0:1: an open fails with ENXIO.
	must.NoError(t, unix.Mknod(filepath.Join(dir.Name(), "char"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	must.NoError(t, unix.Mknod(filepath.Join(dir.Name(), "block"), unix.S_IFBLK|0o666, int(unix.Mkdev(0, 1))))
	refusedOpens(t, dir, "char", "character device")
	refusedOpens(t, dir, "block", "block device")
}

func TestReopen_OpensTheLocatedFileAfterRename(t *testing.T) {
	t.Parallel()
	dir := sampleDirectory(t)
	path := filepath.Join(dir.Name(), "sub/file")
	located, err := Locate(path, 0)
	must.NoError(t, err)
	defer located.Close()
	must.NoError(t, os.Rename(path, path+".old"))
	must.NoError(t, unix.Mkfifo(path, 0o600))
	f, err := Reopen(located, os.O_RDONLY, Regular)
	must.NoError(t, err)
	defer f.Close()
	content, err := io.ReadAll(f)
	must.NoError(t, err)
	must.Eq(t, "inside", string(content))
}

// Another process keeps exchanging a file with a link out of the directory and with a
// FIFO.
func TestOpenBelow_NeverLeavesWhileFilesAreExchanged(t *testing.T) {
	t.Parallel()
	dir := sampleDirectory(t)
	must.NoError(t, unix.Mkfifo(filepath.Join(dir.Name(), "fifo"), 0o600))
	opens := testenv.Opens(t, filepath.Join(dir.Name(), "fifo"))
	stop, stopped := make(chan bool), make(chan error)
	go func() {
		defer close(stopped)
		fd := int(dir.Fd())
		for others := []string{"out", "fifo"}; ; {
			select {
			case <-stop:
				return
			default:
			}
			for range 2 { // exchange and restore
				if err := unix.Renameat2(fd, "sub/file", fd, others[0], unix.RENAME_EXCHANGE); err != nil {
					stopped <- err
					return
				}
			}
			others[0], others[1] = others[1], others[0]
		}
	}()
	opened := 0
	for opened < 200 {
		f, err := OpenBelow(dir, "sub/file", os.O_RDONLY, Regular)
		select {
		case err := <-stopped:
			t.Fatal(err)
		default:
		}
		if err != nil {
			continue
		}
		content, err := io.ReadAll(f)
		must.NoError(t, err)
		must.NoError(t, f.Close())
		must.Eq(t, "inside", string(content))
		opened++
	}
	close(stop)
	must.NoError(t, <-stopped)
	must.Eq(t, 0, opens())
}

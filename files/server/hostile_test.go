// SPDX-License-Identifier: MPL-2.0

package server_test

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/files"
	"github.com/lkl-nomad/nomad-driver-lkl/files/fuse"
	"github.com/lkl-nomad/nomad-driver-lkl/files/server"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// newShare makes a directory to share, and one beside it that no guest may reach.
func newShare(t testing.TB) (shared, outside string) {
	t.Helper()
	base := t.TempDir()
	shared, outside = filepath.Join(base, "shared"), filepath.Join(base, "outside")
	must.NoError(t, os.Mkdir(shared, 0o755))
	must.NoError(t, os.Mkdir(outside, 0o755))
	write(t, "secret", outside, "secret")
	return shared, outside
}

// mustBeUntouched checks the directory that no guest may reach.
func mustBeUntouched(t testing.TB, outside string) {
	t.Helper()
	entries, err := os.ReadDir(outside)
	must.NoError(t, err)
	must.Len(t, 1, entries)
	content, err := os.ReadFile(filepath.Join(outside, "secret"))
	must.NoError(t, err)
	must.Eq(t, "secret", string(content))
	info, err := os.Stat(filepath.Join(outside, "secret"))
	must.NoError(t, err)
	must.Eq(t, 0o644, info.Mode())
}

func TestServe_RefusesNamesOfOtherDirectories(t *testing.T) {
	shared, outside := newShare(t)
	write(t, "a", shared, "a")
	must.NoError(t, os.Mkdir(filepath.Join(shared, "d"), 0o755))
	c := connect(t, []string{shared})
	root, file := c.walk("0"), c.walk("0", "a")
	for name, want := range map[string]unix.Errno{
		"": unix.EINVAL, ".": unix.EINVAL, "..": unix.EINVAL, "/": unix.EINVAL, "/etc/passwd": unix.EINVAL,
		"../outside/secret": unix.EINVAL, "d/..": unix.EINVAL, "a/": unix.EINVAL,
		strings.Repeat("n", 256): unix.ENAMETOOLONG, strings.Repeat("n", 5000): unix.ENAMETOOLONG,
	} {
		for opcode, body := range map[fuse.Opcode][]any{
			fuse.Lookup:  {name},
			fuse.Unlink:  {name},
			fuse.Rmdir:   {name},
			fuse.Mkdir:   {&fuse.MkdirIn{Mode: 0o777}, name},
			fuse.Mknod:   {&fuse.MknodIn{Mode: unix.S_IFREG}, name},
			fuse.Create:  {&fuse.CreateIn{Flags: unix.O_RDWR}, name},
			fuse.Symlink: {name, "target"},
			fuse.Rename:  {&fuse.RenameIn{NewDir: root}, name, "new"},
			fuse.Rename2: {&fuse.Rename2In{NewDir: root}, "a", name},
			fuse.Link:    {&fuse.LinkIn{OldNodeID: file}, name},
		} {
			_, errno := c.call(opcode, root, body...)
			must.Eq(t, want, errno, must.Sprintf("opcode %d, name %.20q", opcode, name))
		}
	}
	// A name without its NUL, and none at all.
	_, errno := c.call(fuse.Lookup, root, []byte("a"))
	must.Eq(t, unix.EINVAL, errno)
	_, errno = c.call(fuse.Lookup, root)
	must.Eq(t, unix.EINVAL, errno)
	mustBeUntouched(t, outside)
}

func TestServe_FollowsNoSymbolicLink(t *testing.T) {
	shared, outside := newShare(t)
	for name, target := range map[string]string{
		"file": outside + "/secret", "dir": outside, "relative": "../outside/secret", "new": outside + "/new", "proc": "/proc/self/root",
	} {
		must.NoError(t, os.Symlink(target, filepath.Join(shared, name)))
	}
	c := connect(t, []string{shared})
	root := c.walk("0")
	for _, name := range []string{"file", "dir", "relative", "new", "proc"} {
		node := c.walk("0", name)
		_, errno := c.open(fuse.Open, node, unix.O_RDWR|unix.O_TRUNC)
		must.Eq(t, unix.ELOOP, errno)
		_, errno = c.open(fuse.Opendir, node, 0)
		must.Eq(t, unix.ENOTDIR, errno)
		for _, below := range []string{"secret", "etc"} {
			_, errno = c.lookup(node, below)
			must.Eq(t, unix.ENOTDIR, errno)
		}
		_, errno = c.call(fuse.Create, node, &fuse.CreateIn{Flags: unix.O_RDWR, Mode: 0o600}, "new")
		must.Eq(t, unix.ENOTDIR, errno)
		_, errno = c.call(fuse.Setattr, node, &fuse.SetattrIn{Valid: fuse.AttrMode, Mode: 0o777})
		must.Eq(t, unix.EOPNOTSUPP, errno)
		_, errno = c.call(fuse.Setattr, node, &fuse.SetattrIn{Valid: fuse.AttrSize})
		must.Eq(t, unix.EINVAL, errno)
		_, errno = c.call(fuse.Setattr, node, &fuse.SetattrIn{Valid: fuse.AttrMtime, Mtime: 1})
		must.Zero(t, errno)
		// The program of the guest looks the name up again and finds the link.
		_, errno = c.call(fuse.Create, root, &fuse.CreateIn{Flags: unix.O_RDWR, Mode: 0o600}, name)
		must.Eq(t, unix.ESTALE, errno)
		_, errno = c.call(fuse.Setxattr, node, &fuse.SetxattrIn{Size: 1}, "user.x", []byte("x"))
		must.Eq(t, unix.EOPNOTSUPP, errno)
		// A hard link of a symbolic link is a symbolic link.
		_, errno = c.call(fuse.Link, root, &fuse.LinkIn{OldNodeID: node}, "link-"+name)
		must.Zero(t, errno)
		info, err := os.Lstat(filepath.Join(shared, "link-"+name))
		must.NoError(t, err)
		must.Eq(t, os.ModeSymlink, info.Mode().Type())
	}
	mustBeUntouched(t, outside)
}

// The races of CVE-2018-15664, CVE-2019-16884 and CVE-2021-30465: a directory or a file
// becomes a symbolic link between two steps.
func TestServe_KeepsTheFileWhenALinkReplacesIt(t *testing.T) {
	shared, outside := newShare(t)
	path := write(t, "mine", shared, "a")
	dir := filepath.Join(shared, "d")
	must.NoError(t, os.Mkdir(dir, 0o755))
	c := connect(t, []string{shared})
	file, directory := c.walk("0", "a"), c.walk("0", "d")
	must.NoError(t, os.Remove(path))
	must.NoError(t, os.Symlink(outside+"/secret", path))
	must.NoError(t, os.Rename(dir, dir+"-moved"))
	must.NoError(t, os.Symlink(outside, dir))
	fh, errno := c.open(fuse.Open, file, unix.O_RDWR)
	must.Zero(t, errno)
	out, errno := c.call(fuse.Read, file, &fuse.ReadIn{FH: fh, Size: 100})
	must.Zero(t, errno)
	must.Eq(t, "mine", string(out))
	_, errno = c.call(fuse.Write, file, &fuse.WriteIn{FH: fh, Size: 4}, []byte("host"))
	must.Zero(t, errno)
	_, errno = c.call(fuse.Create, directory, &fuse.CreateIn{Flags: unix.O_RDWR, Mode: 0o600}, "new")
	must.Zero(t, errno)
	must.FileExists(t, dir+"-moved/new")
	_, errno = c.lookup(directory, "secret")
	must.Eq(t, unix.ENOENT, errno)
	mustBeUntouched(t, outside)
}

// The race of CVE-2017-1002101 and of runc's mounts: a directory of the guest moves out of
// the share, and the guest walks up from there.
func TestServe_DoesNotLeaveADirectoryThatMovedOut(t *testing.T) {
	shared, outside := newShare(t)
	must.NoError(t, os.MkdirAll(filepath.Join(shared, "d", "e"), 0o755))
	c := connect(t, []string{shared})
	node := c.walk("0", "d", "e")
	moved := t.TempDir()
	must.NoError(t, os.Rename(filepath.Join(shared, "d"), filepath.Join(moved, "d")))
	for _, name := range []string{"..", "../..", "../../outside"} {
		_, errno := c.lookup(node, name)
		must.Eq(t, unix.EINVAL, errno)
	}
	must.Eq(t, []string{".", ".."}, c.list(node, 4096))
	mustBeUntouched(t, outside)
}

func TestServe_OpensNoSpecialFile(t *testing.T) {
	testenv.Need(t, testenv.Root)
	shared := t.TempDir()
	for name, mode := range map[string]uint32{"null": unix.S_IFCHR, "disk": unix.S_IFBLK, "fifo": unix.S_IFIFO, "socket": unix.S_IFSOCK} {
		must.NoError(t, unix.Mknod(filepath.Join(shared, name), mode|0o666, int(unix.Mkdev(1, 3))))
	}
	c := connect(t, []string{shared})
	for _, name := range []string{"null", "disk", "fifo", "socket"} {
		for _, flags := range []uint32{unix.O_RDONLY, unix.O_WRONLY, unix.O_RDWR | unix.O_NONBLOCK} {
			_, errno := c.open(fuse.Open, c.walk("0", name), flags)
			must.Eq(t, unix.EACCES, errno, must.Sprint(name))
		}
		_, errno := c.call(fuse.Create, c.walk("0"), &fuse.CreateIn{Flags: unix.O_RDWR}, name)
		must.Eq(t, unix.ESTALE, errno, must.Sprint(name))
	}
	for _, mode := range []uint32{unix.S_IFCHR, unix.S_IFBLK, unix.S_IFDIR, unix.S_IFLNK, unix.S_IFMT} {
		_, errno := c.call(fuse.Mknod, c.walk("0"), &fuse.MknodIn{Mode: mode | 0o666, Rdev: 0x103}, "new")
		must.Eq(t, unix.EPERM, errno)
	}
}

func TestServe_RefusesUnknownNodesAndHandles(t *testing.T) {
	shared := t.TempDir()
	write(t, "content", shared, "a")
	c := connect(t, []string{shared})
	root, node := c.walk("0"), c.walk("0", "a")
	for _, id := range []uint64{0, 2, 3, node + 1, node + 1<<24, 1 << 63, math.MaxUint64} {
		_, errno := c.call(fuse.Getattr, id, &fuse.GetattrIn{})
		must.Eq(t, unix.ESTALE, errno)
		_, errno = c.call(fuse.Rename, root, &fuse.RenameIn{NewDir: id}, "a", "b")
		must.Eq(t, unix.ESTALE, errno)
		_, errno = c.call(fuse.Link, root, &fuse.LinkIn{OldNodeID: id}, "b")
		must.Eq(t, unix.ESTALE, errno)
		c.send(fuse.Forget, id, &fuse.ForgetIn{Nlookup: math.MaxUint64})
	}
	file, errno := c.open(fuse.Open, node, 0)
	must.Zero(t, errno)
	directory, errno := c.open(fuse.Opendir, root, 0)
	must.Zero(t, errno)
	for _, fh := range []uint64{0, 1, directory, file + 1, file + 1<<24, math.MaxUint64} {
		for opcode, body := range map[fuse.Opcode]any{
			fuse.Read: &fuse.ReadIn{FH: fh, Size: 10}, fuse.Write: &fuse.WriteIn{FH: fh},
			fuse.Release: &fuse.ReleaseIn{FH: fh}, fuse.Fsync: &fuse.FsyncIn{FH: fh},
			fuse.Lseek: &fuse.LseekIn{FH: fh, Whence: unix.SEEK_DATA}, fuse.Fallocate: &fuse.FallocateIn{FH: fh, Length: 1},
			fuse.CopyFileRange: &fuse.CopyFileRangeIn{FHIn: file, FHOut: fh, Len: 1},
			fuse.Setattr:       &fuse.SetattrIn{Valid: fuse.AttrSize | fuse.AttrFH, FH: fh},
		} {
			_, errno := c.call(opcode, node, body)
			must.Eq(t, unix.EBADF, errno, must.Sprintf("opcode %d", opcode))
		}
	}
	for opcode, body := range map[fuse.Opcode]any{
		fuse.Readdir: &fuse.ReadIn{FH: file, Size: 4096}, fuse.Releasedir: &fuse.ReleaseIn{FH: file}, fuse.Fsyncdir: &fuse.FsyncIn{FH: file},
	} {
		_, errno := c.call(opcode, root, body)
		must.Eq(t, unix.EBADF, errno)
	}
	_, errno = c.call(fuse.Release, node, &fuse.ReleaseIn{FH: file})
	must.Zero(t, errno)
	_, errno = c.call(fuse.Release, node, &fuse.ReleaseIn{FH: file})
	must.Eq(t, unix.EBADF, errno)
	// More is forgotten than was looked up.
	c.send(fuse.Forget, node, &fuse.ForgetIn{Nlookup: math.MaxUint64})
	c.send(fuse.Forget, node, &fuse.ForgetIn{Nlookup: 1})
	_, errno = c.call(fuse.Getattr, node, &fuse.GetattrIn{})
	must.Eq(t, unix.ESTALE, errno)
	must.NotEq(t, node, c.walk("0", "a"))
}

func TestServe_BoundsCountsAndOffsets(t *testing.T) {
	shared := t.TempDir()
	write(t, strings.Repeat("x", 200_000), shared, "a")
	c := connect(t, []string{shared})
	root, node := c.walk("0"), c.walk("0", "a")
	file, errno := c.open(fuse.Open, node, unix.O_RDWR)
	must.Zero(t, errno)
	directory, errno := c.open(fuse.Opendir, root, 0)
	must.Zero(t, errno)
	out, errno := c.call(fuse.Read, node, &fuse.ReadIn{FH: file, Size: math.MaxUint32})
	must.Zero(t, errno)
	must.Len(t, files.MaxWrite, out)
	const negative = 1 << 63
	for opcode, body := range map[fuse.Opcode][]any{
		fuse.Read:      {&fuse.ReadIn{FH: file, Size: 10, Offset: negative}},
		fuse.Write:     {&fuse.WriteIn{FH: file, Size: 11}, []byte("0123456789")},
		fuse.Fallocate: {&fuse.FallocateIn{FH: file, Offset: negative, Length: 1}},
		fuse.Lseek:     {&fuse.LseekIn{FH: file, Whence: 0}},
		fuse.Setattr:   {&fuse.SetattrIn{Valid: fuse.AttrSize, Size: negative}},
		fuse.Getxattr:  {&fuse.GetxattrIn{Size: math.MaxUint32}},
		fuse.Setxattr:  {&fuse.SetxattrIn{Size: math.MaxUint32}, "user.x", []byte("x")},
	} {
		_, errno := c.call(opcode, node, body...)
		must.Eq(t, unix.EINVAL, errno, must.Sprintf("opcode %d", opcode))
	}
	for _, size := range []uint32{0, 1, 24, 31} {
		for _, id := range []uint64{root, fuse.RootID} {
			fh, errno := c.open(fuse.Opendir, id, 0)
			must.Zero(t, errno)
			_, errno = c.call(fuse.Readdir, id, &fuse.ReadIn{FH: fh, Size: size})
			must.Eq(t, unix.EINVAL, errno, must.Sprint(size))
		}
	}
	_, errno = c.call(fuse.Readdir, root, &fuse.ReadIn{FH: directory, Offset: math.MaxUint64, Size: 4096})
	must.Eq(t, unix.EINVAL, errno)
	out, errno = c.call(fuse.Readdir, root, &fuse.ReadIn{FH: directory, Size: math.MaxUint32})
	must.Zero(t, errno)
	must.SliceNotEmpty(t, out)
	c.send(fuse.BatchForget, 0, &fuse.BatchForgetIn{Count: math.MaxUint32}, &fuse.ForgetOne{NodeID: 7, Nlookup: 1})
	_, errno = c.call(fuse.CopyFileRange, node, &fuse.CopyFileRangeIn{FHIn: file, FHOut: file, OffOut: negative, Len: math.MaxUint64})
	must.NotEq(t, 0, errno)
}

func TestServe_AnswersMalformedPackets(t *testing.T) {
	c := connect(t, []string{t.TempDir()})
	header := fuse.InHeader{Opcode: fuse.Getattr, NodeID: fuse.RootID, Unique: 98}
	for _, n := range []int{1, 16, 39} {
		c.raw(make([]byte, n)) // without a header there is no answer
	}
	for _, length := range []uint32{0, 39, 41, math.MaxUint32} {
		header.Len = length
		c.raw(part(&header))
		answer, _ := c.receive()
		must.Eq(t, -int32(unix.EINVAL), answer.Error)
		must.Eq(t, 98, answer.Unique)
	}
	header.Len = files.MaxPacket + 100
	c.raw(append(part(&header), make([]byte, files.MaxPacket+60)...))
	answer, _ := c.receive()
	must.Eq(t, -int32(unix.EINVAL), answer.Error)
	for _, opcode := range []fuse.Opcode{0, 7, 31, 44, 48, 51, 4096, math.MaxUint32} {
		_, errno := c.call(opcode, fuse.RootID, make([]byte, 100))
		must.Eq(t, unix.ENOSYS, errno, must.Sprint(opcode))
	}
	// Every request is refused without its body.
	for opcode := fuse.Lookup; opcode <= fuse.CopyFileRange; opcode++ {
		switch opcode {
		case fuse.Forget, fuse.BatchForget, fuse.Interrupt: // have no answer
		case fuse.Getattr, fuse.Statfs, fuse.Destroy, fuse.Opendir: // need no body
		default:
			_, errno := c.call(opcode, c.walk("0"))
			must.NotEq(t, 0, errno, must.Sprintf("opcode %d", opcode))
		}
	}
}

func TestServe_HidesFiles(t *testing.T) {
	shared := t.TempDir()
	var st unix.Stat_t
	must.NoError(t, unix.Stat(write(t, "image", shared, "rootfs"), &st))
	write(t, "a", shared, "a")
	c := connect(t, []string{shared}, func(config *server.Config) {
		config.Plan.Shares[0].Hidden = []files.Inode{{Dev: st.Dev, Ino: st.Ino}}
	})
	root, file := c.walk("0"), c.walk("0", "a")
	must.SliceContainsAll(t, []string{".", "..", "a"}, c.list(root, 4096))
	for opcode, body := range map[fuse.Opcode][]any{
		fuse.Lookup: {"rootfs"}, fuse.Unlink: {"rootfs"}, fuse.Rename: {&fuse.RenameIn{NewDir: root}, "rootfs", "b"},
	} {
		_, errno := c.call(opcode, root, body...)
		must.Eq(t, unix.ENOENT, errno)
	}
	for opcode, body := range map[fuse.Opcode][]any{
		fuse.Rename:  {&fuse.RenameIn{NewDir: root}, "a", "rootfs"},
		fuse.Rename2: {&fuse.Rename2In{NewDir: root, Flags: unix.RENAME_EXCHANGE}, "a", "rootfs"},
		fuse.Create:  {&fuse.CreateIn{Flags: unix.O_RDWR | unix.O_TRUNC}, "rootfs"},
	} {
		_, errno := c.call(opcode, root, body...)
		must.Eq(t, unix.EPERM, errno, must.Sprint(opcode))
	}
	_, errno := c.call(fuse.Link, root, &fuse.LinkIn{OldNodeID: file}, "rootfs")
	must.Eq(t, unix.EEXIST, errno)
	content, err := os.ReadFile(filepath.Join(shared, "rootfs"))
	must.NoError(t, err)
	must.Eq(t, "image", string(content))
}

func TestServe_LimitsNodesAndHandles(t *testing.T) {
	shared := t.TempDir()
	for i := range 20 {
		write(t, "", shared, numbered("f", i))
	}
	c := connect(t, []string{shared}, func(config *server.Config) { config.Nodes, config.Handles = 10, 5 })
	root := c.walk("0")
	before := openFDs(t)
	var nodes []uint64
	for i := range 9 {
		nodes = append(nodes, c.walk("0", numbered("f", i)))
	}
	for i := range 11 {
		_, errno := c.lookup(root, numbered("f", 9+i))
		must.Eq(t, unix.ENFILE, errno)
	}
	_, errno := c.call(fuse.Create, root, &fuse.CreateIn{Flags: unix.O_RDWR}, "new")
	must.Eq(t, unix.ENFILE, errno)
	must.FileNotExists(t, filepath.Join(shared, "new"))
	for range 5 {
		_, errno := c.open(fuse.Open, nodes[0], 0)
		must.Zero(t, errno)
	}
	_, errno = c.open(fuse.Open, nodes[0], 0)
	must.Eq(t, unix.ENFILE, errno)
	must.Eq(t, before+9+5, openFDs(t))
	c.send(fuse.Forget, nodes[8], &fuse.ForgetIn{Nlookup: 1})
	c.walk("0", "f10")
}

func TestServe_KeepsSharesApart(t *testing.T) {
	one, two := t.TempDir(), t.TempDir()
	write(t, "a", one, "a")
	c := connect(t, []string{one, two})
	_, errno := c.call(fuse.Rename, c.walk("0"), &fuse.RenameIn{NewDir: c.walk("1")}, "a", "a")
	must.Eq(t, unix.EXDEV, errno)
	_, errno = c.call(fuse.Link, c.walk("1"), &fuse.LinkIn{OldNodeID: c.walk("0", "a")}, "a")
	must.Eq(t, unix.EXDEV, errno)
	for opcode, body := range map[fuse.Opcode][]any{
		fuse.Rename: {&fuse.RenameIn{NewDir: fuse.RootID}, "0", "2"}, fuse.Unlink: {"0"}, fuse.Rmdir: {"0"},
		fuse.Mkdir: {&fuse.MkdirIn{}, "2"}, fuse.Create: {&fuse.CreateIn{}, "2"}, fuse.Symlink: {"2", "a"},
		fuse.Setattr: {&fuse.SetattrIn{Valid: fuse.AttrMode}}, fuse.Link: {&fuse.LinkIn{OldNodeID: c.walk("0", "a")}, "2"},
	} {
		_, errno := c.call(opcode, fuse.RootID, body...)
		must.Eq(t, unix.EROFS, errno)
	}
	_, errno = c.call(fuse.Rename, c.walk("0"), &fuse.RenameIn{NewDir: fuse.RootID}, "a", "a")
	must.Eq(t, unix.EXDEV, errno)
}

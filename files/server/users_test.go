// SPDX-License-Identifier: MPL-2.0

package server_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/files/fuse"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

func mode(t testing.TB, path ...string) uint32 {
	t.Helper()
	var st unix.Stat_t
	must.NoError(t, unix.Lstat(filepath.Join(path...), &st))
	return st.Mode & 0o7777
}

// A guest of root must not make a program that gives a user of the host root's rights.
func TestServe_MakesNoSetUserIDProgram(t *testing.T) {
	testenv.Need(t, testenv.Root)
	shared := t.TempDir()
	path := write(t, "program", shared, "a")
	c := connect(t, []string{shared})
	root, node := c.walk("0"), c.walk("0", "a")
	set := func() {
		_, errno := c.call(fuse.Setattr, node, &fuse.SetattrIn{Valid: fuse.AttrMode, Mode: 0o6755})
		must.Zero(t, errno)
	}
	set()
	must.Eq(t, 0o755, mode(t, path))
	_, errno := c.call(fuse.Create, root, &fuse.CreateIn{Flags: unix.O_RDWR, Mode: unix.S_IFREG | 0o6755}, "created")
	must.Zero(t, errno)
	must.Eq(t, 0o755, mode(t, shared, "created"))
	_, errno = c.call(fuse.Mknod, root, &fuse.MknodIn{Mode: unix.S_IFREG | 0o6755}, "made")
	must.Zero(t, errno)
	must.Eq(t, 0o755, mode(t, shared, "made"))
	// A program of the host loses the bits when the guest writes it.
	for name, change := range map[string]func() unix.Errno{
		"write": func() unix.Errno {
			fh, _ := c.open(fuse.Open, node, unix.O_RDWR)
			_, errno := c.call(fuse.Write, node, &fuse.WriteIn{FH: fh, Size: 1}, []byte("x"))
			return errno
		},
		"open with O_TRUNC": func() unix.Errno {
			_, errno := c.open(fuse.Open, node, unix.O_RDWR|unix.O_TRUNC)
			return errno
		},
		"truncate": func() unix.Errno {
			_, errno := c.call(fuse.Setattr, node, &fuse.SetattrIn{Valid: fuse.AttrSize, Size: 3})
			return errno
		},
		"chown": func() unix.Errno {
			_, errno := c.call(fuse.Setattr, node, &fuse.SetattrIn{Valid: fuse.AttrUID, UID: 5})
			return errno
		},
	} {
		must.NoError(t, unix.Chmod(path, 0o6755))
		must.Zero(t, change())
		must.Eq(t, 0o755, mode(t, path), must.Sprint(name))
	}
}

func TestServe_RefusesPrivilegedAttributes(t *testing.T) {
	shared := t.TempDir()
	write(t, "program", shared, "a")
	c := connect(t, []string{shared})
	node := c.walk("0", "a")
	for _, name := range []string{
		"security.capability", "security.selinux", "trusted.x", "system.posix_acl_access", "system.posix_acl_default", "user", "x",
	} {
		_, errno := c.call(fuse.Setxattr, node, &fuse.SetxattrIn{Size: 1}, name, []byte("x"))
		must.Eq(t, unix.EOPNOTSUPP, errno, must.Sprint(name))
		_, errno = c.call(fuse.Getxattr, node, &fuse.GetxattrIn{Size: 100}, name)
		must.Eq(t, unix.EOPNOTSUPP, errno, must.Sprint(name))
		_, errno = c.call(fuse.Removexattr, node, name)
		must.Eq(t, unix.EOPNOTSUPP, errno, must.Sprint(name))
	}
}

func TestServe_GivesNewFilesToTheCaller(t *testing.T) {
	testenv.Need(t, testenv.Root)
	shared := t.TempDir()
	c := connect(t, []string{shared})
	c.uid, c.gid = 1000, 1001
	root := c.walk("0")
	create := func(directory uint64) {
		for opcode, body := range map[fuse.Opcode][]any{
			fuse.Create:  {&fuse.CreateIn{Flags: unix.O_RDWR, Mode: 0o600}, "file"},
			fuse.Mkdir:   {&fuse.MkdirIn{Mode: 0o700}, "directory"},
			fuse.Mknod:   {&fuse.MknodIn{Mode: unix.S_IFIFO | 0o600}, "fifo"},
			fuse.Symlink: {"link", "target"},
		} {
			_, errno := c.call(opcode, directory, body...)
			must.Zero(t, errno)
		}
	}
	check := func(uid, gid uint32, dir string) {
		for _, name := range []string{"file", "directory", "fifo", "link"} {
			var st unix.Stat_t
			must.NoError(t, unix.Lstat(filepath.Join(dir, name), &st))
			must.Eq(t, []uint32{uid, gid}, []uint32{st.Uid, st.Gid}, must.Sprint(name))
		}
	}
	create(root)
	check(1000, 1001, shared)
	inherits := filepath.Join(shared, "setgid")
	must.NoError(t, os.Mkdir(inherits, 0o755))
	must.NoError(t, unix.Chown(inherits, 0, 7))
	must.NoError(t, unix.Chmod(inherits, 0o2755))
	create(c.walk("0", "setgid"))
	check(1000, 7, inherits)
}

// The server of an ordinary user does everything as this user, whoever the guest says it is.
func TestServe_ActsAsTheUserOfTheJob(t *testing.T) {
	testenv.Need(t, testenv.Root)
	shared := t.TempDir()
	must.NoError(t, unix.Chmod(shared, 0o777))
	write(t, "root's", shared, "a")
	must.NoError(t, os.WriteFile(filepath.Join(shared, "private"), nil, 0o600))
	c := &client{t: t, socket: serveAs(t, 1000, shared), buffer: make([]byte, 1<<16)}
	root, file := c.walk("0"), c.walk("0", "a")
	_, errno := c.open(fuse.Open, file, unix.O_RDWR)
	must.Eq(t, unix.EACCES, errno)
	_, errno = c.open(fuse.Open, c.walk("0", "private"), unix.O_RDONLY)
	must.Eq(t, unix.EACCES, errno)
	_, errno = c.call(fuse.Setattr, file, &fuse.SetattrIn{Valid: fuse.AttrMode, Mode: 0o777})
	must.Eq(t, unix.EPERM, errno)
	out, errno := c.call(fuse.Mkdir, root, &fuse.MkdirIn{Mode: 0o755}, "new")
	must.Zero(t, errno)
	entry, _ := fuse.View[fuse.EntryOut](out)
	must.Eq(t, []uint32{1000, 1000}, []uint32{entry.Attr.UID, entry.Attr.GID})
	_, errno = c.call(fuse.Setattr, entry.NodeID, &fuse.SetattrIn{Valid: fuse.AttrUID, UID: 5})
	must.Eq(t, unix.EPERM, errno)
}

// SPDX-License-Identifier: MPL-2.0

package server_test

import (
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// scripts are sequences of system calls that must have the same results on a directory of the
// host and on a served one.
var scripts = map[string]func(*script){
	"create": func(s *script) {
		s.close(s.open("a", unix.O_CREAT|unix.O_WRONLY|unix.O_EXCL, 0o640))
		s.open("a", unix.O_CREAT|unix.O_WRONLY|unix.O_EXCL, 0o640)
		s.close(s.open("a", unix.O_CREAT|unix.O_RDWR, 0o600))
		s.open("missing/a", unix.O_CREAT|unix.O_WRONLY, 0o640)
		s.open("a/b", unix.O_CREAT|unix.O_WRONLY, 0o640)
		s.open("a", unix.O_DIRECTORY, 0)
		s.open(strings.Repeat("n", 256), unix.O_CREAT, 0o600)
		s.close(s.open(strings.Repeat("n", 255), unix.O_CREAT, 0o600))
		s.stat("a")
	},
	"append and truncate": func(s *script) {
		s.write("a", "0123456789")
		fd := s.open("a", unix.O_APPEND|unix.O_RDWR, 0)
		n, err := unix.Write(fd, []byte("end"))
		s.note("write", err, n)
		s.note("ftruncate", unix.Ftruncate(fd, 12))
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_SETFL, 0)
		s.note("clear O_APPEND", err, flags)
		n, err = unix.Pwrite(fd, []byte("X"), 1)
		s.note("pwrite", err, n)
		s.close(fd)
		s.read("a")
		s.note("truncate", unix.Truncate(s.path("a"), 3))
		s.read("a")
		s.note("truncate", unix.Truncate(s.path("a"), 6))
		s.read("a")
		s.close(s.open("a", unix.O_TRUNC|unix.O_WRONLY, 0))
		s.stat("a")
		s.note("truncate", unix.Truncate(s.path("a"), -1))
		s.note("truncate", unix.Truncate(s.path("."), 1))
	},
	"offsets": func(s *script) {
		fd := s.open("a", unix.O_CREAT|unix.O_RDWR, 0o600)
		const far = 4<<30 + 5
		n, err := unix.Pwrite(fd, []byte("x"), far)
		s.note("pwrite", err, n)
		b := make([]byte, 10)
		n, err = unix.Pread(fd, b, far-3)
		s.note("pread", err, n, b)
		offset, err := unix.Seek(fd, 0, unix.SEEK_HOLE)
		s.note("hole", err, offset)
		offset, err = unix.Seek(fd, far+1, unix.SEEK_DATA)
		s.note("data", err, offset)
		s.note("punch", unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, far, 1))
		n, err = unix.Pread(fd, b, far)
		s.note("pread", err, n, b[:1])
		s.note("allocate", unix.Fallocate(fd, 0, far, 100))
		s.close(fd)
		s.stat("a")
	},
	"large data": func(s *script) {
		data := make([]byte, 3<<20+17)
		for i := range data {
			data[i] = byte(i * 7 >> 3)
		}
		s.note("write", os.WriteFile(s.path("a"), data, 0o600))
		got, err := os.ReadFile(s.path("a"))
		s.note("read", err, slices.Equal(data, got))
		from, to := s.open("a", unix.O_RDONLY, 0), s.open("b", unix.O_CREAT|unix.O_RDWR, 0o600)
		offset := int64(5)
		n, err := unix.CopyFileRange(from, &offset, to, nil, 100_000, 0)
		s.note("copy", err, n)
		got, err = os.ReadFile(s.path("b"))
		s.note("read", err, slices.Equal(data[5:100_005], got))
		s.note("fsync", unix.Fsync(to))
		s.note("fdatasync", unix.Fdatasync(to))
		s.close(from)
		s.close(to)
	},
	"mmap": func(s *script) {
		s.write("a", strings.Repeat("0123456789", 1000))
		fd := s.open("a", unix.O_RDWR, 0)
		b, err := unix.Mmap(fd, 0, 10_000, unix.PROT_READ, unix.MAP_SHARED)
		s.note("map", err)
		s.note("content", nil, string(b[4095:4105]))
		n, err := unix.Pwrite(fd, []byte("changed"), 4096)
		s.note("pwrite", err, n, string(b[4095:4105]))
		s.note("unmap", unix.Munmap(b))
		b, err = unix.Mmap(fd, 0, 10_000, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		s.note("map", err)
		copy(b, "mapped")
		s.note("sync", unix.Msync(b, unix.MS_SYNC))
		s.note("unmap", unix.Munmap(b))
		s.close(fd)
		s.read("a")
	},
	"directories": func(s *script) {
		s.note("mkdir", unix.Mkdir(s.path("d"), 0o750))
		s.note("mkdir", unix.Mkdir(s.path("d"), 0o750))
		s.note("mkdir", unix.Mkdir(s.path("d/e"), 0o1777))
		s.stat("d")
		s.stat("d/e")
		s.write("d/f", "x")
		s.note("rmdir", unix.Rmdir(s.path("d")))
		s.note("rmdir", unix.Rmdir(s.path("d/f")))
		s.note("unlink", unix.Unlink(s.path("d/e")))
		s.names("d")
		s.note("rmdir", unix.Rmdir(s.path("d/e")))
		s.note("unlink", unix.Unlink(s.path("d/f")))
		s.note("rmdir", unix.Rmdir(s.path("d")))
		s.stat("d")
	},
	"setgid directory": func(s *script) {
		s.note("mkdir", unix.Mkdir(s.path("d"), 0o755))
		s.note("chown", unix.Chown(s.path("d"), 1000, 1001))
		s.note("chmod", unix.Chmod(s.path("d"), 0o2775))
		s.stat("d")
		s.note("mkdir", unix.Mkdir(s.path("d/e"), 0o755))
		s.stat("d/e")
		s.write("d/f", "x")
		s.stat("d/f")
	},
	"rename": func(s *script) {
		s.write("a", "a")
		s.write("b", "b")
		s.note("mkdir", unix.Mkdir(s.path("d"), 0o755))
		fd := s.open("b", unix.O_RDONLY, 0)
		s.note("rename", unix.Rename(s.path("a"), s.path("b")))
		b := make([]byte, 10)
		n, err := unix.Read(fd, b)
		s.note("read the replaced file", err, string(b[:n]))
		s.close(fd)
		s.read("b")
		s.note("rename", unix.Rename(s.path("a"), s.path("b")))
		s.note("rename", unix.Rename(s.path("b"), s.path("d")))
		s.note("rename", unix.Rename(s.path("d"), s.path("b")))
		s.note("rename", unix.Rename(s.path("d"), s.path("d/e")))
		s.note("rename", unix.Rename(s.path("b"), s.path("d/c")))
		s.names("d")
		s.write("x", "x")
		at := unix.AT_FDCWD
		s.note("noreplace", unix.Renameat2(at, s.path("x"), at, s.path("d/c"), unix.RENAME_NOREPLACE))
		s.note("exchange", unix.Renameat2(at, s.path("x"), at, s.path("d/c"), unix.RENAME_EXCHANGE))
		s.read("x")
		s.read("d/c")
	},
	"unlink of an open file": func(s *script) {
		s.write("a", "content")
		fd := s.open("a", unix.O_RDWR, 0)
		s.note("unlink", unix.Unlink(s.path("a")))
		s.stat("a")
		n, err := unix.Pwrite(fd, []byte("C"), 0)
		s.note("pwrite", err, n)
		b := make([]byte, 10)
		n, err = unix.Pread(fd, b, 0)
		s.note("pread", err, string(b[:n]))
		var st unix.Stat_t
		s.note("fstat", unix.Fstat(fd, &st), st.Nlink, st.Size)
		s.note("fchmod", unix.Fchmod(fd, 0o600))
		s.note("ftruncate", unix.Ftruncate(fd, 1))
		s.close(fd)
	},
	"links": func(s *script) {
		s.write("a", "a")
		s.note("link", unix.Link(s.path("a"), s.path("b")))
		s.note("link", unix.Link(s.path("a"), s.path("b")))
		s.note("link", unix.Link(s.path("missing"), s.path("c")))
		s.stat("b")
		s.note("symlink", unix.Symlink("a", s.path("s")))
		s.note("symlink", unix.Symlink("a", s.path("s")))
		s.note("symlink", unix.Symlink("../../etc/passwd", s.path("out")))
		b := make([]byte, 100)
		n, err := unix.Readlink(s.path("out"), b)
		s.note("readlink", err, string(b[:n]))
		n, err = unix.Readlink(s.path("a"), b)
		s.note("readlink", err, n)
		s.read("s")
		s.stat("s")
		s.open("s", unix.O_NOFOLLOW, 0)
		s.note("link", unix.Link(s.path("s"), s.path("t")))
		s.stat("t")
		s.note("chown", unix.Lchown(s.path("s"), 5, 6))
		s.stat("s")
		s.note("loop", unix.Symlink("loop", s.path("loop")))
		s.read("loop")
		s.note("long", unix.Symlink(strings.Repeat("a/", 2000), s.path("long")))
		s.stat("long")
	},
	"modes and owners": func(s *script) {
		s.write("a", "a")
		s.note("chmod", unix.Chmod(s.path("a"), 0o401))
		s.stat("a")
		s.note("chown", unix.Chown(s.path("a"), 1000, 1001))
		s.stat("a")
		s.note("chown", unix.Chown(s.path("a"), -1, 7))
		s.stat("a")
		s.note("chmod", unix.Chmod(s.path("missing"), 0o401))
		s.note("mkdir", unix.Mkdir(s.path("d"), 0o700))
		s.note("chmod", unix.Chmod(s.path("d"), 0o1777))
		s.stat("d")
	},
	"times": func(s *script) {
		s.write("a", "a")
		times := func(name string, atime, mtime unix.Timespec) {
			err := unix.UtimesNanoAt(unix.AT_FDCWD, s.path(name), []unix.Timespec{atime, mtime}, unix.AT_SYMLINK_NOFOLLOW)
			var st unix.Stat_t
			s.note("utimens", err)
			s.note("stat", unix.Lstat(s.path(name), &st), st.Atim.Sec > 1e9, st.Mtim.Sec > 1e9, st.Mtim.Nsec%1000 == 7)
		}
		times("a", unix.Timespec{Sec: 1, Nsec: 5}, unix.Timespec{Sec: 2, Nsec: 7})
		times("a", unix.Timespec{Nsec: unix.UTIME_NOW}, unix.Timespec{Nsec: unix.UTIME_OMIT})
		times("a", unix.Timespec{Nsec: unix.UTIME_OMIT}, unix.Timespec{Nsec: unix.UTIME_NOW})
		s.note("symlink", unix.Symlink("missing", s.path("s")))
		times("s", unix.Timespec{Sec: 1}, unix.Timespec{Sec: 2, Nsec: 7})
		times("a", unix.Timespec{Sec: -5}, unix.Timespec{Sec: -6, Nsec: 7})
	},
	"special files": func(s *script) {
		s.note("fifo", unix.Mknod(s.path("fifo"), unix.S_IFIFO|0o640, 0))
		s.note("socket", unix.Mknod(s.path("socket"), unix.S_IFSOCK|0o600, 0))
		s.note("file", unix.Mknod(s.path("file"), unix.S_IFREG|0o600, 0))
		s.note("exists", unix.Mknod(s.path("file"), unix.S_IFREG|0o600, 0))
		s.stat("fifo")
		s.stat("socket")
		s.stat("file")
		r := s.open("fifo", unix.O_RDONLY|unix.O_NONBLOCK, 0)
		w := s.open("fifo", unix.O_WRONLY|unix.O_NONBLOCK, 0)
		n, err := unix.Write(w, []byte("through"))
		s.note("write", err, n)
		b := make([]byte, 10)
		n, err = unix.Read(r, b)
		s.note("read", err, string(b[:n]))
		s.close(r)
		s.close(w)
		s.note("chmod", unix.Chmod(s.path("fifo"), 0o600))
		s.stat("fifo")
		s.open("socket", unix.O_RDONLY, 0)
		s.names(".")
	},
	"sockets": func(s *script) {
		listener, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		s.note("socket", err)
		s.note("bind", unix.Bind(listener, &unix.SockaddrUnix{Name: s.path("socket")}))
		s.note("listen", unix.Listen(listener, 1))
		peer, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		s.note("socket", err)
		s.note("connect", unix.Connect(peer, &unix.SockaddrUnix{Name: s.path("socket")}))
		s.close(peer)
		s.close(listener)
		s.note("unlink", unix.Unlink(s.path("socket")))
	},
	"extended attributes": func(s *script) {
		s.write("a", "a")
		s.note("set", unix.Setxattr(s.path("a"), "user.one", []byte("value"), 0))
		s.note("create", unix.Setxattr(s.path("a"), "user.one", []byte("value"), unix.XATTR_CREATE))
		s.note("replace", unix.Setxattr(s.path("a"), "user.two", []byte("value"), unix.XATTR_REPLACE))
		b := make([]byte, 100)
		n, err := unix.Getxattr(s.path("a"), "user.one", b)
		s.note("get", err, string(b[:max(n, 0)]))
		n, err = unix.Getxattr(s.path("a"), "user.one", nil)
		s.note("size", err, n)
		n, err = unix.Getxattr(s.path("a"), "user.one", b[:2])
		s.note("short", err, n)
		n, err = unix.Getxattr(s.path("a"), "user.none", b)
		s.note("missing", err, n)
		n, err = unix.Listxattr(s.path("a"), b)
		s.note("list", err, string(b[:max(n, 0)]))
		s.note("remove", unix.Removexattr(s.path("a"), "user.one"))
		s.note("remove", unix.Removexattr(s.path("a"), "user.one"))
		s.note("symlink", unix.Symlink("a", s.path("s")))
		s.note("set", unix.Lsetxattr(s.path("s"), "user.one", []byte("value"), 0))
		s.note("empty", unix.Setxattr(s.path("."), "user.empty", nil, 0))
	},
	"many entries": func(s *script) {
		s.note("mkdir", unix.Mkdir(s.path("d"), 0o755))
		for i := range 3_000 {
			if err := unix.Mknod(s.path(numbered("d/entry", i)), unix.S_IFREG|0o600, 0); err != nil {
				s.note("create", err)
				return
			}
		}
		entries, err := os.ReadDir(s.path("d"))
		s.note("list", err, len(entries))
		dir, err := os.Open(s.path("d"))
		s.note("open", err)
		some, err := dir.Readdirnames(1000)
		s.note("some", err, len(some))
		for _, name := range some {
			if err := unix.Unlink(s.path("d/" + name)); err != nil {
				s.note("unlink", err)
				return
			}
		}
		rest, err := dir.Readdirnames(-1)
		s.note("rest", err, len(rest))
		_, err = dir.Seek(0, 0)
		s.note("rewind", err)
		rest, err = dir.Readdirnames(-1)
		s.note("all", err, len(rest))
		s.note("close", dir.Close())
		s.note("remove", os.RemoveAll(s.path("d")))
	},
	"another user": func(s *script) {
		s.note("chmod", unix.Chmod(s.path("."), 0o1777))
		s.write("root", "root's")
		s.note("chmod", unix.Chmod(s.path("root"), 0o600))
		s.note("mkdir", unix.Mkdir(s.path("closed"), 0o700))
		s.as(1000, func() {
			s.close(s.open("mine", unix.O_CREAT|unix.O_WRONLY, 0o666))
			s.note("mkdir", unix.Mkdir(s.path("d"), 0o755))
			s.note("symlink", unix.Symlink("mine", s.path("s")))
			s.note("fifo", unix.Mknod(s.path("fifo"), unix.S_IFIFO|0o640, 0))
			s.note("link", unix.Link(s.path("mine"), s.path("second")))
			for _, name := range []string{"mine", "d", "s", "fifo", "second"} {
				s.stat(name)
			}
			s.open("root", unix.O_RDONLY, 0)
			s.note("chmod", unix.Chmod(s.path("root"), 0o666))
			s.note("chown", unix.Chown(s.path("mine"), 0, 0))
			s.note("chgrp", unix.Chown(s.path("mine"), -1, 1000))
			s.note("unlink", unix.Unlink(s.path("root")))
			s.note("rename", unix.Rename(s.path("mine"), s.path("root")))
			s.note("mkdir", unix.Mkdir(s.path("closed/d"), 0o700))
			s.stat("closed/d")
			s.note("truncate", unix.Truncate(s.path("root"), 0))
			s.note("access", unix.Faccessat(unix.AT_FDCWD, s.path("root"), unix.R_OK, unix.AT_EACCESS))
		})
	},
	"locks": func(s *script) {
		one, two := s.open("a", unix.O_CREAT|unix.O_RDWR, 0o600), s.open("a", unix.O_RDWR, 0)
		s.note("flock", unix.Flock(one, unix.LOCK_EX))
		s.note("flock", unix.Flock(two, unix.LOCK_EX|unix.LOCK_NB))
		s.note("unlock", unix.Flock(one, unix.LOCK_UN))
		lock := unix.Flock_t{Type: unix.F_WRLCK, Len: 10}
		s.note("lock", unix.FcntlFlock(uintptr(one), unix.F_OFD_SETLK, &lock))
		s.note("lock", unix.FcntlFlock(uintptr(two), unix.F_OFD_SETLK, &lock))
		s.close(one)
		s.note("lock", unix.FcntlFlock(uintptr(two), unix.F_OFD_SETLK, &lock))
		s.close(two)
	},
}

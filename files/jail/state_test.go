// SPDX-License-Identifier: MPL-2.0

package jail

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/files"
	"github.com/lkl-nomad/nomad-driver-lkl/files/fuse"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

var coreLimit = regexp.MustCompile(`Max core file size +0 +0 `)

// startServer starts the real server for a writable directory, a read-only directory with a
// mount in it, and a file.
func startServer(t *testing.T, user uint32) *jailed {
	t.Helper()
	testenv.Need(t, testenv.Root)
	plan := files.Plan{
		Version: files.Version, UID: user, GID: user,
		Shares: []files.Share{{ReadOnlyDirs: []string{"logs"}}, {ReadOnly: true, Follow: true}, {}},
	}
	return startJailed(t, buildServer(t), plan, probeShares(t, int(user)), "")
}

func (j *jailed) proc(elements ...string) string {
	return filepath.Join(append([]string{"/proc", fmt.Sprint(j.Pid)}, elements...)...)
}

func TestServer_HasNoOtherDescriptors(t *testing.T) {
	j := startServer(t, 1000)
	open := map[string]string{}
	entries, err := os.ReadDir(j.proc("fd"))
	must.NoError(t, err)
	for _, e := range entries {
		to, err := os.Readlink(j.proc("fd", e.Name()))
		must.NoError(t, err)
		to, _, _ = strings.Cut(to, ":") // sockets and pipes have a number
		open[e.Name()] = to
	}
	must.Eq(t, map[string]string{
		"0": "/dev/null", "1": "/dev/null", "2": "pipe", "4": "socket",
		"3": "/proc/self/fd", "5": "/0", "6": "/1", "7": "/2", // paths in its own root directory
	}, open)
}

func TestServer_SeesOnlyItsShares(t *testing.T) {
	j := startServer(t, 1000)
	table, err := os.ReadFile(j.proc("mountinfo"))
	must.NoError(t, err)
	options := map[string]string{}
	for line := range strings.Lines(string(table)) {
		fields := strings.Fields(line)
		options[fields[4]] = fields[5]
		must.StrNotContains(t, line, " shared:") // no mount reaches the host
	}
	must.Eq(t, []string{"/", "/0", "/0/logs", "/1", "/1/mount", "/2", "/proc/self/fd"}, slices.Sorted(maps.Keys(options)))
	for path, flags := range options {
		want := []string{"nosuid", "nodev", "noexec", "ro"}
		if path == "/0" || path == "/2" {
			want[3] = "rw"
		}
		must.SliceContainsSubset(t, strings.Split(flags, ","), want, must.Sprint(path, flags))
	}
	names, err := os.ReadDir(j.proc("root"))
	must.NoError(t, err)
	must.SliceLen(t, 4, names) // the shares and /proc
	for _, namespace := range []string{"mnt", "net", "ipc", "uts", "pid"} {
		own, err := os.Readlink("/proc/self/ns/" + namespace)
		must.NoError(t, err)
		its, err := os.Readlink(j.proc("ns", namespace))
		must.NoError(t, err)
		must.NotEq(t, own, its)
	}
	interfaces, err := os.ReadFile(j.proc("net", "dev"))
	must.NoError(t, err)
	must.SliceLen(t, 3, strings.Split(strings.TrimSpace(string(interfaces)), "\n")) // two header lines and lo
}

func TestServer_ThreadsHaveNoPrivileges(t *testing.T) {
	for user, capabilities := range map[uint32]string{
		0:    "000000000000001b", // CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_FSETID
		1000: "0000000000000000",
	} {
		j := startServer(t, user)
		threads, err := filepath.Glob(j.proc("task", "*", "status"))
		must.NoError(t, err)
		must.SliceNotEmpty(t, threads)
		id := strings.TrimSuffix(strings.Repeat(fmt.Sprintf("%d ", user), 4), " ")
		for _, path := range threads {
			status := readStatus(t, path)
			must.Eq(t, capabilities, status["CapPrm"])
			must.Eq(t, capabilities, status["CapBnd"])
			must.Eq(t, "0000000000000000", status["CapInh"])
			must.Eq(t, "0000000000000000", status["CapAmb"])
			must.Eq(t, "1", status["NoNewPrivs"])
			must.Eq(t, "2", status["Seccomp"])
			must.Eq(t, id, status["Uid"])
			must.Eq(t, id, status["Gid"])
			must.Eq(t, "", status["Groups"])
			must.Eq(t, "0000", status["Umask"])
		}
		limits, err := os.ReadFile(j.proc("limits"))
		must.NoError(t, err)
		must.RegexMatch(t, coreLimit, string(limits))
	}
}

// A process that may not be dumped belongs to root in /proc, which its own user cannot enter.
func TestServer_CannotBeTracedByItsUser(t *testing.T) {
	j := startServer(t, 1000)
	var stat unix.Stat_t
	must.NoError(t, unix.Stat(j.proc("mem"), &stat))
	must.Eq(t, 0, stat.Uid)
}

func readStatus(t *testing.T, path string) map[string]string {
	t.Helper()
	content, err := os.ReadFile(path)
	must.NoError(t, err)
	fields := map[string]string{}
	for line := range strings.Lines(string(content)) {
		name, value, _ := strings.Cut(line, ":")
		fields[name] = strings.Join(strings.Fields(value), " ")
	}
	return fields
}

// A guest sends raw messages, which its own kernel would refuse. The probe shows that the
// host's kernel refuses them without the server's check.
func TestServer_CannotWriteToReadOnlyShares(t *testing.T) {
	j := startServer(t, 0)
	j.request(t, fuse.Init, 0, message(&fuse.InitIn{Major: fuse.Major, Minor: fuse.Minor}))
	share := j.lookup(t, fuse.RootID, "1")
	file := j.lookup(t, share, "file")
	name := []byte("new\x00")
	for what, send := range map[string]func() int32{
		"create": func() int32 {
			return j.request(t, fuse.Create, share, message(&fuse.CreateIn{Flags: unix.O_RDWR, Mode: 0o666}), name)
		},
		"mkdir":  func() int32 { return j.request(t, fuse.Mkdir, share, message(&fuse.MkdirIn{Mode: 0o777}), name) },
		"unlink": func() int32 { return j.request(t, fuse.Unlink, share, []byte("file\x00")) },
		"open":   func() int32 { return j.request(t, fuse.Open, file, message(&fuse.OpenIn{Flags: unix.O_RDWR})) },
		"chmod": func() int32 {
			const mode = 1 << 0 // FATTR_MODE
			return j.request(t, fuse.Setattr, file, message(&fuse.SetattrIn{Valid: mode, Mode: unix.S_IFREG | 0o777}))
		},
	} {
		must.Eq(t, -int32(unix.EROFS), send(), must.Sprint(what))
	}
}

// A mount that appears later has the host's attributes, not those of the share. Landlock, which
// not every kernel has, does not limit changes of attributes either.
func TestServer_CannotWriteToLaterMountsInReadOnlyShares(t *testing.T) {
	testenv.Need(t, testenv.Root)
	volume := t.TempDir()
	mountShared := func(path string, flags uintptr) {
		must.NoError(t, unix.Mount("tmpfs", path, "tmpfs", flags, ""))
		t.Cleanup(func() { must.NoError(t, unix.Unmount(path, unix.MNT_DETACH)) })
	}
	mountShared(volume, 0)
	must.NoError(t, unix.Mount("", volume, "", unix.MS_SHARED, ""))
	later := filepath.Join(volume, "later")
	must.NoError(t, os.Mkdir(later, 0o755))
	plan := files.Plan{Version: files.Version, Shares: []files.Share{{ReadOnly: true, Follow: true}}}
	j := startJailed(t, buildServer(t), plan, []string{volume}, "")
	mountShared(later, 0)
	must.NoError(t, os.WriteFile(filepath.Join(later, "file"), []byte("kept"), 0o644))

	j.request(t, fuse.Init, 0, message(&fuse.InitIn{Major: fuse.Major, Minor: fuse.Minor}))
	dir := j.lookup(t, j.lookup(t, fuse.RootID, "0"), "later")
	file := j.lookup(t, dir, "file")
	name, file0 := []byte("new\x00"), []byte("file\x00")
	for what, got := range map[string]int32{
		"create":   j.request(t, fuse.Create, dir, message(&fuse.CreateIn{Flags: unix.O_RDWR, Mode: 0o666}), name),
		"mknod":    j.request(t, fuse.Mknod, dir, message(&fuse.MknodIn{Mode: unix.S_IFIFO | 0o666}), name),
		"mkdir":    j.request(t, fuse.Mkdir, dir, message(&fuse.MkdirIn{Mode: 0o777}), name),
		"symlink":  j.request(t, fuse.Symlink, dir, name, file0),
		"link":     j.request(t, fuse.Link, dir, message(&fuse.LinkIn{OldNodeID: file}), name),
		"rename":   j.request(t, fuse.Rename, dir, message(&fuse.RenameIn{NewDir: dir}), file0, name),
		"rename2":  j.request(t, fuse.Rename2, dir, message(&fuse.Rename2In{NewDir: dir}), file0, name),
		"open":     j.request(t, fuse.Open, file, message(&fuse.OpenIn{Flags: unix.O_RDWR})),
		"truncate": j.request(t, fuse.Open, file, message(&fuse.OpenIn{Flags: unix.O_TRUNC})),
		"size":     j.request(t, fuse.Setattr, file, message(&fuse.SetattrIn{Valid: fuse.AttrSize})),
		"chmod":    j.request(t, fuse.Setattr, file, message(&fuse.SetattrIn{Valid: fuse.AttrMode, Mode: 0o777})),
		"chown":    j.request(t, fuse.Setattr, file, message(&fuse.SetattrIn{Valid: fuse.AttrUID, UID: 1})),
		"times":    j.request(t, fuse.Setattr, file, message(&fuse.SetattrIn{Valid: fuse.AttrMtime})),
		"xattr":    j.request(t, fuse.Setxattr, file, message(&fuse.SetxattrIn{Size: 1}), []byte("user.x\x00"), []byte("x")),
		"no xattr": j.request(t, fuse.Removexattr, file, []byte("user.x\x00")),
		"unlink":   j.request(t, fuse.Unlink, dir, file0),
		"rmdir":    j.request(t, fuse.Rmdir, dir, file0),
	} {
		must.Eq(t, -int32(unix.EROFS), got, must.Sprint(what))
	}
	info, err := os.Stat(filepath.Join(later, "file"))
	must.NoError(t, err)
	must.Eq(t, "-rw-r--r--", info.Mode().String())
	must.Eq(t, 4, info.Size())
}

// lookup returns the node of a name.
func (j *jailed) lookup(t *testing.T, dir uint64, name string) uint64 {
	t.Helper()
	must.Zero(t, j.request(t, fuse.Lookup, dir, []byte(name+"\x00")))
	entry, _ := fuse.View[fuse.EntryOut](j.answer)
	must.NotNil(t, entry)
	return entry.NodeID
}

// request sends a message, keeps its answer, and returns the answer's error.
func (j *jailed) request(t *testing.T, opcode fuse.Opcode, node uint64, body ...[]byte) int32 {
	t.Helper()
	all := slices.Concat(body...)
	header := fuse.InHeader{Len: uint32(fuse.InHeaderSize + len(all)), Opcode: opcode, Unique: 2, NodeID: node}
	_, err := unix.Write(j.guest, append(message(&header), all...))
	must.NoError(t, err)
	out, rest := fuse.View[fuse.OutHeader]([]byte(j.receive(t)))
	must.NotNil(t, out)
	j.answer = slices.Clone(rest)
	return out.Error
}

func message[T fuse.Message](m *T) []byte {
	return slices.Clone(unsafe.Slice((*byte)(unsafe.Pointer(m)), unsafe.Sizeof(*m)))
}

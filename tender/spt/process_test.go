// SPDX-License-Identifier: MPL-2.0

//go:build linux && amd64

package spt

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/osthread"
	"github.com/lkl-nomad/nomad-driver-lkl/tender"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

func proc(t *testing.T, p *Process, name string) string {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", p.Pid, name))
	must.NoError(t, err)
	return string(b)
}

// statusFields returns the values of /proc/PID/status by name.
func statusFields(t *testing.T, p *Process) map[string]string {
	t.Helper()
	fields := map[string]string{}
	lines := bufio.NewScanner(strings.NewReader(proc(t, p, "status")))
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ":")
		fields[name] = strings.Join(strings.Fields(value), " ")
	}
	return fields
}

// mappings returns the mapped memory of a process, except the vsyscall page, with
// permissions and names of files. It omits the ends of the guest's mappings.
func mappings(t *testing.T, p *Process) []string {
	t.Helper()
	var mapped []string
	for _, line := range strings.Split(strings.TrimSpace(proc(t, p, "maps")), "\n") {
		f := strings.Fields(line)
		var from, to uint64
		_, err := fmt.Sscanf(f[0], "%x-%x", &from, &to)
		must.NoError(t, err)
		name := ""
		if len(f) > 5 {
			name = filepath.Base(f[5])
		}
		switch {
		case name == "[vsyscall]":
		case to <= testMemory && from >= guestBase:
			mapped = append(mapped, fmt.Sprintf("%x %s %s", from, f[1], name))
		default:
			mapped = append(mapped, fmt.Sprintf("%x-%x %s %s", from, to, f[1], name))
		}
	}
	return mapped
}

// descriptors returns the open descriptors of a process with the kinds of their files.
func descriptors(t *testing.T, p *Process) []string {
	t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.Pid))
	must.NoError(t, err)
	var links []string
	for _, e := range entries {
		target, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", p.Pid, e.Name()))
		must.NoError(t, err)
		kind, _, _ := strings.Cut(target, "[")
		links = append(links, e.Name()+" "+filepath.Base(kind))
	}
	slices.Sort(links)
	return links
}

func TestProcess_MapsOnlyTheGuestAndTheLauncher(t *testing.T) {
	testenv.Need(t, testenv.Root) // the process is not dumpable
	g := guestOf(t, idle())
	p := startIdle(t, g, tender.Jail{})

	must.Eq(t, []string{
		"10000 rw-p ",
		"100000 r-xp ",
		"101000 rw-p ",
		"102000 r--p ",
		"103000 rw-p ",
		"10000000000-10000001000 r-xp memfd:spt-launcher",
	}, mappings(t, p))
	must.Eq(t, "", proc(t, p, "cmdline"))
	must.Eq(t, "", proc(t, p, "environ"))
	must.Eq(t, "spt-guest\n", proc(t, p, "comm"))
}

func TestProcess_HasOnlyTheGuestsFiles(t *testing.T) {
	testenv.Need(t, testenv.Root)
	// A descriptor without close-on-exec, as a library might leave.
	stray, err := unix.Dup(0)
	must.NoError(t, err)
	t.Cleanup(func() { must.NoError(t, unix.Close(stray)) })

	g := guestOf(t, idle())
	socket(t, g, "net")
	disk(t, g, tender.Device{Name: "disk", Capacity: 4096, BlockSize: 512})
	withCommandLineFile(t, g, 10_000)
	p := startIdle(t, g, tender.Jail{})
	must.Eq(t, []string{
		"1 pipe:", "3 anon_inode:", "4 anon_inode:", "5 socket:", "6 disk",
	}, descriptors(t, p))
}

func TestProcess_HasNoPrivileges(t *testing.T) {
	p := startIdle(t, guestOf(t, idle()), tender.Jail{})
	f := statusFields(t, p)
	must.Eq(t, "2", f["Seccomp"])
	must.Eq(t, "1", f["NoNewPrivs"])
	for _, set := range []string{"CapInh", "CapPrm", "CapEff", "CapAmb"} {
		must.Eq(t, "0000000000000000", f[set], must.Sprint(set))
	}
	for _, set := range []string{"SigBlk", "SigIgn", "SigCgt"} {
		must.Eq(t, "0000000000000000", f[set], must.Sprint(set))
	}
	must.Eq(t, "1", f["Threads"])
}

func TestJail_ChangesUserGroupsAndRoot(t *testing.T) {
	testenv.Need(t, testenv.Root)
	root := t.TempDir()
	const uid, gid = 70001, 70002
	p := startIdle(t, guestOf(t, idle()), tender.Jail{UID: uid, GID: gid, Root: root, NewSession: true})
	f := statusFields(t, p)
	must.Eq(t, "70001 70001 70001 70001", f["Uid"])
	must.Eq(t, "70002 70002 70002 70002", f["Gid"])
	must.Eq(t, "", f["Groups"])
	must.Eq(t, "0000000000000000", f["CapPrm"])
	for _, link := range []string{"root", "cwd"} {
		target, err := os.Readlink(fmt.Sprintf("/proc/%d/%s", p.Pid, link))
		must.NoError(t, err)
		must.Eq(t, root, target)
	}
	session, err := unix.Getsid(p.Pid)
	must.NoError(t, err)
	must.Eq(t, p.Pid, session)
}

func TestStart_HugePagesOnRequestOnly(t *testing.T) {
	testenv.Need(t, testenv.Root) // the process is not dumpable
	g := guestOf(t, idle())
	must.Eq(t, "0", statusFields(t, startIdle(t, g, tender.Jail{}))["THP_enabled"])

	setting, err := os.ReadFile("/sys/kernel/mm/transparent_hugepage/enabled")
	if err != nil {
		t.Skip("needs a kernel with transparent huge pages: ", err)
	}
	t.Logf("the host's setting: %s", setting)
	g.HugePages = true
	p := startIdle(t, g, tender.Jail{})
	smaps := proc(t, p, "smaps")
	_, mapping, found := strings.Cut(smaps, fmt.Sprintf("-%08x rw-p", g.Memory))
	must.True(t, found, must.Sprint(smaps))
	_, flags, _ := strings.Cut(mapping, "VmFlags:")
	flags, _, _ = strings.Cut(flags, "\n")
	must.SliceContains(t, strings.Fields(flags), "hg")
}

func TestJail_LimitsAreZero(t *testing.T) {
	p := startIdle(t, guestOf(t, idle()), tender.Jail{})
	for _, limit := range []int{unix.RLIMIT_CORE, unix.RLIMIT_NOFILE, unix.RLIMIT_NPROC} {
		var l unix.Rlimit
		must.NoError(t, unix.Prlimit(p.Pid, limit, nil, &l))
		must.Eq(t, unix.Rlimit{}, l)
	}
}

func TestJail_DiesWithItsThread(t *testing.T) {
	jails := []tender.Jail{{DieWithParent: true}}
	if os.Geteuid() == 0 { // a change of user resets PR_SET_PDEATHSIG
		jails = append(jails, tender.Jail{DieWithParent: true, UID: 70001, GID: 70001})
	}
	for _, j := range jails {
		g := guestOf(t, idle())
		var p *Process
		must.NoError(t, osthread.Run(func() error { p = startIdle(t, g, j); return nil }))
		exit, err := p.Wait()
		must.NoError(t, err)
		must.Eq(t, tender.Exit{Signal: syscall.SIGKILL}, exit)
	}
}

func TestProcess_DoesNotInheritIgnoredSignals(t *testing.T) {
	signal.Ignore(syscall.SIGTERM)
	defer signal.Reset(syscall.SIGTERM)
	p := startIdle(t, guestOf(t, idle()), tender.Jail{})
	must.NoError(t, p.Signal(syscall.SIGTERM))
	exit, err := p.Wait()
	must.NoError(t, err)
	must.Eq(t, tender.Exit{Signal: syscall.SIGTERM}, exit)
	must.ErrorIs(t, p.Signal(syscall.SIGTERM), os.ErrProcessDone)
}

func TestProcess_EndsWhenItsConsoleIsClosed(t *testing.T) {
	var code asm
	loop := len(code)
	code.write(textBase, 1)
	code.bytes(0xeb, byte(loop-len(code)-2)) // jmp loop
	p, console := start(t, guestOf(t, code), tender.Jail{})
	must.NoError(t, console.Close())
	exit, err := p.Wait()
	must.NoError(t, err)
	must.Eq(t, tender.Exit{Signal: syscall.SIGPIPE}, exit)
}

func TestGuest_ConsoleLosesNothing(t *testing.T) {
	const size = 1 << 20 // more than the capacity of a pipe
	exit, output := run(t, guestOf(t, dump(dataBase, size)))
	must.Eq(t, tender.Exit{}, exit)
	must.Len(t, size, output)
}

func TestGuest_NetworkEndsTheWait(t *testing.T) {
	var code asm
	code.call(unix.SYS_READ, fdDevice, dataBase, 64)
	code.bytes(0x83, 0xf8, 0xf5) // cmp $-EAGAIN,%eax
	code.bytes(0x74, 0x02)       // je over
	code.bytes(0x0f, 0x0b)       // ud2
	code.write(textBase, 1)
	code.call(unix.SYS_EPOLL_PWAIT, fdEpoll, dataBase, 2, ^uint64(0), 0, 0)
	code.write(dataBase, 12) // struct epoll_event
	code.call(unix.SYS_READ, fdDevice, dataBase, 64)
	code.call(unix.SYS_WRITE, fdDevice, dataBase, 5)
	code.exitWithResult()

	g := guestOf(t, code)
	host := socket(t, g, "net")
	p, console := start(t, g, tender.Jail{})
	_, err := io.ReadFull(console, make([]byte, 1))
	must.NoError(t, err)
	_, err = host.Write([]byte("frame"))
	must.NoError(t, err)
	event := make([]byte, 12)
	_, err = io.ReadFull(console, event)
	must.NoError(t, err)
	must.Eq(t, []byte{unix.EPOLLIN, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0}, event)
	exit, err := p.Wait()
	must.NoError(t, err)
	must.Eq(t, tender.Exit{Code: 5}, exit)
	answer := make([]byte, 64)
	n, err := host.Read(answer)
	must.NoError(t, err)
	must.Eq(t, "frame", string(answer[:n]))
}

func TestGuest_TransfersOnlyInsideTheDisk(t *testing.T) {
	for _, undeclared := range []bool{false, true} {
		t.Run(fmt.Sprintf("undeclared %t", undeclared), func(t *testing.T) { checkTransfers(t, undeclared) })
	}
}

// checkTransfers runs guests that access a disk, inside and beyond its limits.
func checkTransfers(t *testing.T, undeclared bool) {
	t.Helper()
	small := tender.Device{Name: "disk", Capacity: 8192, BlockSize: 512}
	large := small
	large.MaxTransfer, large.Flush = 8192, true
	for name, c := range map[string]struct {
		device         tender.Device
		number         uint64
		length, offset uint64
		want           tender.Exit
	}{
		"a block":                  {small, unix.SYS_PWRITE64, 512, 512, tender.Exit{Code: 2}}, // 0x200 >> 8
		"the last block":           {small, unix.SYS_PWRITE64, 512, 7680, tender.Exit{Code: 2}},
		"beyond the end":           {small, unix.SYS_PWRITE64, 512, 7681, tender.Exit{Signal: syscall.SIGSYS}},
		"two blocks":               {small, unix.SYS_PWRITE64, 1024, 0, tender.Exit{Signal: syscall.SIGSYS}},
		"two blocks, extended":     {large, unix.SYS_PWRITE64, 1024, 0, tender.Exit{Code: 4}},
		"all blocks, extended":     {large, unix.SYS_PREAD64, 8192, 0, tender.Exit{Code: 32}},
		"beyond the end, extended": {large, unix.SYS_PREAD64, 8192, 1, tender.Exit{Signal: syscall.SIGSYS}},
		"flush":                    {small, unix.SYS_FDATASYNC, 0, 0, tender.Exit{Signal: syscall.SIGSYS}},
		"flush, extended":          {large, unix.SYS_FDATASYNC, 0, 0, tender.Exit{}},
	} {
		t.Run(name, func(t *testing.T) {
			var code asm
			code.call(c.number, fdDevice, dataBase, c.length, c.offset)
			code.bytes(0xc1, 0xe8, 8) // shr $8,%eax
			code.exitWithResult()
			g := guestOf(t, code)
			f := disk(t, g, c.device)
			if undeclared {
				undeclare(g, 1)
			}
			exit, _ := run(t, g)
			must.Eq(t, c.want, exit)
			info, err := f.Stat()
			must.NoError(t, err)
			must.Eq(t, int64(c.device.Capacity), info.Size())
			if exit.Signal == 0 && c.number == unix.SYS_PWRITE64 {
				content := make([]byte, 8)
				_, err := f.ReadAt(content, int64(c.offset))
				must.NoError(t, err)
				must.Eq(t, "variable", string(content))
			}
		})
	}
}

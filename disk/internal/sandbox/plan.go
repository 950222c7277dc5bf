// SPDX-License-Identifier: MPL-2.0

//go:build linux && amd64

package sandbox

import (
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// newPlan returns the launcher's work for a program: everything between fork and exec.
// Most of it cannot be done before the fork, because it would change this process.
//
// The order matters. Joining cgroups, dropping groups and the bounding set need
// privileges. A change of user resets PR_SET_PDEATHSIG (prctl(2)). The filter comes last,
// because it denies most of the steps before it.
func newPlan(cmd *exec.Cmd, o Options, f *files, user int) *plan {
	p := &plan{statusFD: uint64(fileFD + len(o.Files))}
	next := p.statusFD + 2 // after the status pipe and the launcher
	rulesetFD := next
	if f.ruleset != nil {
		next++
	}
	zero := p.put([]byte("0"))
	for range f.groups {
		p.add(step{name: "join the task's cgroup", number: unix.SYS_WRITE, args: args{next, zero, 1}, want: 1})
		next++
	}
	p.resetOOMScore(next, zero)
	for _, l := range o.Limits.rlimits(next) {
		p.limit(l)
	}
	if user != 0 {
		// The limit counts all threads of a user, so it needs a user that runs nothing else.
		p.limit(rlimit{"threads", unix.RLIMIT_NPROC, maxThreads, maxThreads})
		p.changeUser(uint64(user))
	}
	p.call("request SIGKILL when the plugin dies", unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uint64(unix.SIGKILL))
	p.add(step{name: "check that the plugin is alive", number: unix.SYS_GETPPID, want: uint64(os.Getpid())})
	p.call("set no_new_privs", unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
	firstClosed := p.statusFD + 1
	if f.ruleset != nil {
		if o.MountTable {
			p.allowMountTable(rulesetFD, next, firstClosed)
			firstClosed++
		}
		p.call("restrict file access", unix.SYS_LANDLOCK_RESTRICT_SELF, rulesetFD, 0)
	}
	p.call("close the status pipe on exec", unix.SYS_FCNTL, p.statusFD, unix.F_SETFD, unix.FD_CLOEXEC)
	p.call("close the launcher's files", unix.SYS_CLOSE_RANGE, firstClosed, uint64(^uint32(0)), 0)
	filter := filter()
	program := p.words(uint64(len(filter)), p.put(filter.Encode())) // struct sock_fprog
	p.call("install the system call filter", unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, program)
	p.call("execute "+cmd.Path, unix.SYS_EXECVE, p.text(cmd.Path), p.texts(cmd.Args), p.texts(cmd.Env))
	return p
}

func (p *plan) limit(l rlimit) {
	p.call("limit the "+l.name, unix.SYS_PRLIMIT64, 0, l.resource, p.words(l.soft, l.hard), 0)
}

// resetOOMScore makes the program an ordinary victim of the out-of-memory killer. A Nomad
// client often has a score that protects it and its children. next is the launcher's next
// descriptor.
func (p *plan) resetOOMScore(next, zero uint64) {
	const path = "/proc/self/oom_score_adj"
	text, err := os.ReadFile(path)
	if score, _ := strconv.Atoi(strings.TrimSpace(string(text))); err != nil || score > 0 {
		return // lowering a score needs CAP_SYS_RESOURCE
	}
	p.add(step{name: "open the OOM score", number: unix.SYS_OPEN, args: args{p.text(path), unix.O_WRONLY}, want: next})
	p.add(step{name: "reset the OOM score", number: unix.SYS_WRITE, args: args{next, zero, 1}, want: 1})
	p.call("close the OOM score", unix.SYS_CLOSE, next)
}

// allowMountTable lets the program read its /proc/PID/mounts. The rule holds for an inode that
// the kernel keeps only as long as it is in use, so the program keeps an O_PATH descriptor of
// it. next is the launcher's next descriptor, kept the one for the program.
func (p *plan) allowMountTable(ruleset, next, kept uint64) {
	rule := binary.LittleEndian.AppendUint64(nil, unix.LANDLOCK_ACCESS_FS_READ_FILE) // struct landlock_path_beneath_attr
	rule = binary.LittleEndian.AppendUint32(rule, uint32(kept))
	p.add(step{
		name: "open the mount table", number: unix.SYS_OPEN,
		args: args{p.text("/proc/self/mounts"), unix.O_PATH}, want: next,
	})
	p.add(step{name: "keep the mount table", number: unix.SYS_DUP2, args: args{next, kept}, want: kept})
	p.call("allow to read the mount table", unix.SYS_LANDLOCK_ADD_RULE,
		ruleset, unix.LANDLOCK_RULE_PATH_BENEATH, p.put(rule), 0)
}

// changeUser gives up all privileges.
func (p *plan) changeUser(user uint64) {
	for c := range capabilities() {
		p.call(fmt.Sprintf("drop capability %d", c), unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, uint64(c))
	}
	p.call("drop supplementary groups", unix.SYS_SETGROUPS, 0, 0)
	p.call("change the group", unix.SYS_SETRESGID, user, user, user)
	p.call("change the user", unix.SYS_SETRESUID, user, user, user)
	p.call("drop all capabilities", unix.SYS_CAPSET, p.words(unix.LINUX_CAPABILITY_VERSION_3), p.words(0, 0, 0))
}

// capabilities returns the number of capabilities that the kernel knows.
var capabilities = sync.OnceValue(func() int {
	n := 0
	for unix.Prctl(unix.PR_CAPBSET_READ, uintptr(n), 0, 0, 0) == nil {
		n++
	}
	return n
})

// A step is a system call of the launcher.
type step struct {
	name   string // for the error, such as "limit open files"
	number uint64
	args   args
	want   uint64 // the launch fails on any other result
}

type args [6]uint64

// A plan is the launcher's work: steps in order, and the data that they point to.
type plan struct {
	statusFD uint64
	steps    []step
	data     []byte // at dataAddress
}

func (p *plan) add(s step) { p.steps = append(p.steps, s) }

// call appends a step whose expected result is 0.
func (p *plan) call(name string, number uint64, arguments ...uint64) {
	s := step{name: name, number: number}
	copy(s.args[:], arguments)
	p.add(s)
}

// put appends data and returns its address in the launcher.
func (p *plan) put(b []byte) uint64 {
	address := dataAddress + uint64(len(p.data))
	p.data = append(p.data, b...)
	p.data = append(p.data, make([]byte, -len(p.data)&7)...)
	return address
}

// words appends numbers and returns their address.
func (p *plan) words(numbers ...uint64) uint64 {
	b := make([]byte, 0, 8*len(numbers))
	for _, n := range numbers {
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	return p.put(b)
}

// text appends a NUL-terminated string and returns its address.
func (p *plan) text(s string) uint64 { return p.put(append([]byte(s), 0)) }

// texts appends a NULL-terminated array of strings and returns its address.
func (p *plan) texts(list []string) uint64 {
	addresses := make([]uint64, 0, len(list)+1)
	for _, s := range list {
		addresses = append(addresses, p.text(s))
	}
	return p.words(append(addresses, 0)...)
}

// failure returns the error in the launcher's report.
func (p *plan) failure(report []byte) error {
	if len(report) != reportSize {
		return fmt.Errorf("the launcher's report has %d bytes instead of %d", len(report), reportSize)
	}
	index, result := binary.LittleEndian.Uint64(report), int64(binary.LittleEndian.Uint64(report[8:]))
	if index >= uint64(len(p.steps)) {
		return fmt.Errorf("the launcher reports step %d of %d", index, len(p.steps))
	}
	s := p.steps[index]
	if result >= 0 {
		return fmt.Errorf("%s: unexpected result %d instead of %d", s.name, result, s.want)
	}
	return fmt.Errorf("%s: %w", s.name, syscall.Errno(-result))
}

// SPDX-License-Identifier: MPL-2.0

//go:build linux && amd64

package sandbox

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/executor/cgroup"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/memfd"
)

// uidBase is the first of the UIDs that programs run as. Each run has the UID and the GID
// uidBase plus the ID of the thread that starts the program and lives as long as it does.
// So no two programs have the same one. The range follows that of the guests, which begins
// at 0x70000000, and has the same size: the IDs of threads are below 1<<22.
const uidBase = 0x7040_0000

// launch starts a program on the calling thread. The program dies with this thread.
func launch(cmd *exec.Cmd, o Options, m method) (_ *loan, err error) {
	user := 0
	if os.Geteuid() == 0 {
		user = uidBase + unix.Gettid()
	}
	image, err := lend(o.Image, user)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, image.giveBack())
		}
	}()
	f, err := openFiles(cmd.Path, o, m)
	if err != nil {
		return nil, err
	}
	defer f.close()
	if err := f.start(newPlan(cmd, o, f, user), cmd, o); err != nil {
		return nil, fmt.Errorf("confine %s: %w", filepath.Base(cmd.Args[0]), err)
	}
	return image, nil
}

// A loan is a file that belongs to a program's user for a while.
type loan struct {
	file     *os.File
	uid, gid int
	changed  bool
}

// maxThreadID is the largest ID of a thread: PID_MAX_LIMIT of Linux.
const maxThreadID = 1 << 22

// lend makes a user the owner of a file. A plugin that dies before giveBack leaves the file
// to a user without processes. The next loan gives such a file back to root.
func lend(f *os.File, user int) (*loan, error) {
	var stat unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &stat); err != nil {
		return nil, fmt.Errorf("stat %s: %w", f.Name(), err)
	}
	l := &loan{file: f, uid: int(stat.Uid), gid: int(stat.Gid), changed: user != 0}
	if l.uid >= uidBase && l.uid < uidBase+maxThreadID {
		l.uid, l.gid = 0, 0
	}
	if l.changed {
		return l, f.Chown(user, user)
	}
	return l, nil
}

func (l *loan) giveBack() error {
	if !l.changed {
		return nil
	}
	return l.file.Chown(l.uid, l.gid)
}

// files are the descriptors with which a program is set up. It does not keep them.
type files struct {
	statusReader, status *os.File // the launcher reports a failure here
	ruleset              *os.File // of Landlock; nil where the root directory replaces it
	groups               []*os.File
	cgroup               *os.File // of v2; nil otherwise
}

func openFiles(program string, o Options, m method) (_ *files, err error) {
	f := &files{}
	defer func() {
		if err != nil {
			f.close()
		}
	}()
	if f.statusReader, f.status, err = os.Pipe(); err != nil {
		return nil, err
	}
	if err := f.openCgroup(o.Cgroup); err != nil {
		return nil, fmt.Errorf("open the task's cgroup: %w", err)
	}
	interpreter, err := interpreterOf(program)
	if err != nil {
		return nil, err
	}
	executables := append([]string{program}, interpreter...)
	if m == byRootDirectory {
		return f, enterPrivateRoot(executables)
	}
	f.ruleset, err = openRuleset(executables, o)
	return f, err
}

// openCgroup opens the files through which a process joins the task's cgroups.
func (f *files) openCgroup(spec cgroup.Spec) (err error) {
	if os.Geteuid() != 0 {
		return nil
	}
	if spec.Version == cgroup.V2 {
		f.cgroup, err = os.Open(spec.Unified)
		return err
	}
	for _, dir := range []string{spec.CPUSet, spec.CPU, spec.Memory, spec.Freezer} {
		if dir == "" {
			continue
		}
		group, err := os.OpenFile(filepath.Join(dir, "tasks"), os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		f.groups = append(f.groups, group)
	}
	return nil
}

func (f *files) close() {
	for _, file := range append([]*os.File{f.statusReader, f.status, f.ruleset, f.cgroup}, f.groups...) {
		file.Close() // returns an error for nil
	}
}

// start starts the launcher and waits until it has executed the program.
func (f *files) start(p *plan, cmd *exec.Cmd, o Options) error {
	executable, err := memfd.NewExecutable("lkl-launcher", p.encode())
	if err != nil {
		return err
	}
	defer executable.Close()
	cmd.ExtraFiles = append([]*os.File{o.Image}, o.Files...)
	cmd.ExtraFiles = append(cmd.ExtraFiles, f.status, executable)
	if f.ruleset != nil {
		cmd.ExtraFiles = append(cmd.ExtraFiles, f.ruleset)
	}
	cmd.ExtraFiles = append(cmd.ExtraFiles, f.groups...)
	cmd.Path = fmt.Sprintf("/proc/self/fd/%d", p.statusFD+1)
	cmd.Dir = "/"
	// A new session would make the program slow to answer on a busy host: the
	// scheduler shares the processors between sessions first (sched(7), autogroup).
	if f.cgroup != nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(f.cgroup.Fd())}
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	f.status.Close() // the launcher has its own
	report, err := io.ReadAll(f.statusReader)
	if err == nil && len(report) == 0 {
		return nil
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait() // reports the launcher's exit
	return errors.Join(err, p.failure(report))
}

// SPDX-License-Identifier: MPL-2.0

package jail

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/files"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/eintr"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/memfd"
)

// ErrPrivileges reports a host process that cannot make the jail.
var ErrPrivileges = errors.New("live directories need root with CAP_SYS_ADMIN: run the plugin as root")

// A Server is a running file server, a child of this process.
type Server struct {
	Pid int
	// report is a pipe to which a server writes that it is ready, and later only the error
	// with which it ends.
	report int
}

// environment makes the server's Go runtime small, as that of the executor. GOMAXPROCS keeps
// the number of threads low while the server confines itself: see processors.
var environment = []string{"GOMAXPROCS=1", "GOGC=25", "GODEBUG=containermaxprocs=0,updatemaxprocs=0"}

// Files are the open files of a server. Start does not close them.
type Files struct {
	Program int   // lkl-files
	Conn    int   // the server's end of the socket
	Shares  []int // O_PATH descriptors, in the order of the plan's shares
}

// Start starts a server. The caller must call AwaitReady. Start ignores the values of
// Share.FD. The server gets the cgroups and the resource limits of the calling thread. It ends
// when the other end of the socket is closed.
func Start(plan files.Plan, f Files) (_ *Server, err error) {
	mounts, err := cloneShares(plan.Shares, f.Shares)
	defer closeAll(mounts)
	if err != nil {
		return nil, err
	}
	planFile, err := writePlan(plan)
	if err != nil {
		return nil, err
	}
	defer planFile.Close()
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open /dev/null: %w", err)
	}
	defer closeAll([]int{null})
	pipe := make([]int, 2)
	if err := unix.Pipe2(pipe, unix.O_CLOEXEC); err != nil {
		return nil, fmt.Errorf("create a pipe for the file server: %w", err)
	}
	inherited := append([]int{null, null, pipe[1], int(planFile.Fd()), f.Conn}, mounts...)
	pid, err := execute(append(inherited, f.Program))
	_ = unix.Close(pipe[1])
	if err != nil {
		_ = unix.Close(pipe[0])
		return nil, err
	}
	return &Server{Pid: pid, report: pipe[0]}, nil
}

func writePlan(plan files.Plan) (*os.File, error) {
	shares := make([]files.Share, len(plan.Shares))
	copy(shares, plan.Shares)
	for i := range shares {
		shares[i].FD = i
	}
	plan.Shares = shares
	content, err := json.Marshal(plan)
	if err != nil {
		return nil, fmt.Errorf("encode the plan of the file server: %w", err)
	}
	return memfd.New("files-plan", content)
}

// execute starts a program in new namespaces. The program is the last of the descriptors. It
// has exactly these descriptors, numbered from 0.
func execute(inherited []int) (int, error) {
	fds := make([]uintptr, len(inherited))
	for i, fd := range inherited {
		fds[i] = uintptr(fd)
	}
	program := "/proc/self/fd/" + strconv.Itoa(len(inherited)-1)
	pid, err := syscall.ForkExec(program, []string{files.Program}, &syscall.ProcAttr{
		Dir: "/", Env: environment, Files: fds,
		Sys: &syscall.SysProcAttr{
			Setsid:     true,
			Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWPID,
		},
	})
	if errors.Is(err, unix.EPERM) {
		err = fmt.Errorf("%w (%w)", ErrPrivileges, err)
	}
	if err != nil {
		return 0, fmt.Errorf("start the file server: %w", err)
	}
	return pid, nil
}

// AwaitReady waits until the server has confined itself. If that fails, it kills and reaps the
// server.
func (s *Server) AwaitReady() error {
	report := make([]byte, 0, maxReport)
	for len(report) < cap(report) {
		n, err := eintr.Retry(func() (int, error) { return unix.Read(s.report, report[len(report):cap(report)]) })
		if n <= 0 || err != nil {
			break
		}
		report = report[:len(report)+n]
		if string(report) == ready {
			return unix.SetNonblock(s.report, true)
		}
	}
	defer closeAll([]int{s.report})
	_ = syscall.Kill(s.Pid, unix.SIGKILL) // in case that it hangs; fails if it has ended
	var status syscall.WaitStatus
	if _, err := eintr.Retry(func() (int, error) { return syscall.Wait4(s.Pid, &status, 0, nil) }); err != nil {
		return fmt.Errorf("wait for the file server: %w", err)
	}
	return fmt.Errorf("start the file server: %s", describe(status, report))
}

// maxReport limits the part of a report that errors and events contain, in bytes.
const maxReport = 512

// Ended describes the end of a server that has been reaped.
func (s *Server) Ended(status syscall.WaitStatus) string {
	report := make([]byte, maxReport)
	n, err := unix.Read(s.report, report)
	if err != nil {
		n = 0
	}
	_ = unix.Close(s.report)
	return describe(status, report[:n])
}

// describe puts the end of a server in words: its status, and the first line of its report.
func describe(status syscall.WaitStatus, report []byte) string {
	end := fmt.Sprintf("exited with %d", status.ExitStatus())
	if status.Signaled() {
		end = "killed by " + unix.SignalName(status.Signal())
	}
	line, _, _ := strings.Cut(strings.TrimSpace(string(report)), "\n")
	if line == "" {
		return end
	}
	return end + ": " + strings.ToValidUTF8(line, "?")
}

func closeAll(fds []int) {
	for _, fd := range fds {
		_ = unix.Close(fd)
	}
}

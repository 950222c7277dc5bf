// SPDX-License-Identifier: MPL-2.0

package jail

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/files"
)

// errNotStarted reports a process that Start has not started. Its mounts must not be changed.
var errNotStarted = errors.New("lkl-executor starts this program; it cannot be used by hand")

// Main confines this process, makes a server, reports that the process is ready, and calls
// Serve. It returns the exit status of the process.
func Main[S interface{ Serve() error }](newServer func(Inside) (S, error)) int {
	err := run(newServer)
	if err != nil {
		_, _ = unix.Write(reportFD, []byte(files.Program+": "+err.Error()+"\n"))
		return 2
	}
	return 0
}

func run[S interface{ Serve() error }](newServer func(Inside) (S, error)) error {
	inside, err := enter()
	if err != nil {
		return err
	}
	s, err := newServer(inside)
	if err != nil {
		return err
	}
	if _, err := unix.Write(reportFD, []byte(ready)); err != nil {
		return fmt.Errorf("report to the executor: %w", err)
	}
	return s.Serve()
}

// processors is the GOMAXPROCS of a confined server: more than it has workers, so that none
// waits for another that sleeps in the kernel. Until then it is 1, because each privilege is
// dropped on all threads in turn.
const processors = 6

func enter() (inside Inside, err error) {
	if err := checkStarter(); err != nil {
		return inside, err
	}
	if inside.Plan, err = readPlan(); err != nil {
		return inside, err
	}
	inside.Conn = connFD
	for i := range inside.Plan.Shares {
		inside.Roots = append(inside.Roots, firstShare+i)
	}
	if err := closeOthers(len(inside.Roots)); err != nil {
		return inside, err
	}
	if err := enterRoot(inside.Plan, inside.Roots); err != nil {
		return inside, fmt.Errorf("make the root directory: %w", err)
	}
	if inside.ProcSelfFD, err = unix.Open(procSelfFD, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
		return inside, fmt.Errorf("open %s: %w", procSelfFD, err)
	}
	if err := setLimits(); err != nil {
		return inside, err
	}
	if err := dropPrivileges(inside.Plan); err != nil {
		return inside, err
	}
	if err := restrictFiles(inside.Plan, inside.Roots); err != nil {
		return inside, fmt.Errorf("restrict the file server with Landlock: %w", err)
	}
	if err := filter(os.Getpid()).InstallFilter(); err != nil {
		return inside, fmt.Errorf("install the file server's system call filter: %w", err)
	}
	runtime.GOMAXPROCS(processors)
	return inside, nil
}

// checkStarter refuses to change the mounts of the host. Start makes the first process of a
// new PID namespace, and a new mount namespace with it.
func checkStarter() error {
	if os.Getpid() != 1 {
		return errNotStarted
	}
	kind, err := unix.GetsockoptInt(connFD, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil || kind != unix.SOCK_SEQPACKET {
		return errNotStarted
	}
	return nil
}

// readPlan reads the plan and closes its file.
func readPlan() (*files.Plan, error) {
	f := os.NewFile(planFD, "plan")
	defer f.Close()
	content, err := io.ReadAll(io.NewSectionReader(f, 0, maxPlan+1))
	if err != nil {
		return nil, fmt.Errorf("read the plan: %w", err)
	}
	if len(content) > maxPlan {
		return nil, fmt.Errorf("the plan is longer than %d bytes", maxPlan)
	}
	var plan files.Plan
	if err := json.Unmarshal(content, &plan); err != nil {
		return nil, fmt.Errorf("decode the plan: %w", err)
	}
	return &plan, plan.Check(len(plan.Shares))
}

// closeOthers closes the descriptors behind those of the shares: the one of the program.
func closeOthers(shares int) error {
	if err := unix.CloseRange(uint(firstShare+shares), math.MaxInt32, 0); err != nil {
		return fmt.Errorf("close other descriptors: %w", err)
	}
	return nil
}

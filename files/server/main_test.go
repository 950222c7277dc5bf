// SPDX-License-Identifier: MPL-2.0

package server_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/files"
	"github.com/lkl-nomad/nomad-driver-lkl/files/server"
)

// A process that uses a FUSE mount must not serve it: package os adds an opened file to an
// epoll set, which sends a request, and no other goroutine may run until the answer. So the
// test program is also the program of the server, which takes its order from a variable.
const serverVariable = "LKL_TEST_FILE_SERVER"

// An order describes a server process. Its descriptors are 3 for the guest, 4 for this program,
// and those of the shares.
type order struct {
	UID    uint32
	Shares int
	Device bool // the descriptor 3 is /dev/fuse, otherwise a socket
}

func TestMain(m *testing.M) {
	text := os.Getenv(serverVariable)
	if text == "" {
		os.Exit(m.Run())
	}
	var o order
	err := json.Unmarshal([]byte(text), &o)
	if err == nil {
		err = o.run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// start starts the server process, which takes over the guest's descriptor.
func (o order) start(t testing.TB, guest int, shares []string) *exec.Cmd {
	t.Helper()
	o.Shares = len(shares)
	text, err := json.Marshal(o)
	must.NoError(t, err)
	program, err := os.Open("/proc/self/exe") // the path may not be accessible to the user
	must.NoError(t, err)
	command := exec.Command("/proc/self/fd/4")
	command.Env = append(os.Environ(), serverVariable+"="+string(text))
	command.Stderr = os.Stderr
	command.ExtraFiles = []*os.File{os.NewFile(uintptr(guest), "guest"), program}
	for _, path := range shares {
		root, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
		must.NoError(t, err)
		command.ExtraFiles = append(command.ExtraFiles, os.NewFile(uintptr(root), path))
	}
	command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: o.UID, Gid: o.UID}}
	must.NoError(t, command.Start())
	for _, file := range command.ExtraFiles {
		must.NoError(t, file.Close())
	}
	return command
}

// serveAs starts a server process of a user, and returns the guest's end of its socket.
func serveAs(t testing.TB, uid uint32, share string) int {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	must.NoError(t, err)
	command := order{UID: uid}.start(t, pair[1], []string{share})
	t.Cleanup(func() {
		must.NoError(t, unix.Close(pair[0]))
		must.NoError(t, command.Wait())
	})
	return pair[0]
}

// mountServer serves shares to the FUSE client of this machine's kernel. It returns the path of
// the root directory and the server's process. The mount is not attached to a directory, so it
// ends with this process at the latest.
func mountServer(t testing.TB, shares ...string) (string, *os.Process) {
	t.Helper()
	device, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	must.NoError(t, err)
	context, err := unix.Fsopen("fuse", unix.FSOPEN_CLOEXEC)
	must.NoError(t, err)
	defer func() { must.NoError(t, unix.Close(context)) }()
	for key, value := range map[string]string{
		"fd": strconv.Itoa(device), "rootmode": "40000", "user_id": "0", "group_id": "0",
	} {
		must.NoError(t, unix.FsconfigSetString(context, key, value))
	}
	must.NoError(t, unix.FsconfigSetFlag(context, "default_permissions"))
	must.NoError(t, unix.FsconfigSetFlag(context, "allow_other"))
	must.NoError(t, unix.FsconfigCreate(context))
	mount, err := unix.Fsmount(context, unix.FSMOUNT_CLOEXEC, 0)
	must.NoError(t, err)
	command := order{Device: true}.start(t, device, shares)
	t.Cleanup(func() {
		must.NoError(t, unix.Close(mount))
		must.NoError(t, command.Wait())
	})
	return "/proc/self/fd/" + strconv.Itoa(mount), command.Process
}

// run is the server process.
func (o order) run() error {
	proc, err := unix.Open("/proc/self/fd", unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	config := server.Config{
		Plan:   files.Plan{UID: o.UID, GID: o.UID, Shares: make([]files.Share, o.Shares)},
		Socket: 3, ProcSelfFD: proc, Nodes: 8_000,
	}
	for i := range o.Shares {
		config.Shares = append(config.Shares, 5+i)
	}
	forwarded := make(chan error, 2)
	if o.Device {
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		config.Socket = pair[1]
		go func() { forwarded <- forward(3, pair[0]) }()
		go func() { forwarded <- forward(pair[0], 3) }()
	} else {
		forwarded <- nil
	}
	s, err := server.New(config)
	if err != nil {
		return err
	}
	return errors.Join(s.Serve(), <-forwarded)
}

// forward copies packets until the mount ends, and closes the socket then.
func forward(from, to int) error {
	packet := make([]byte, files.MaxPacket)
	for {
		n, err := unix.Read(from, packet)
		if errors.Is(err, unix.ENODEV) {
			return unix.Shutdown(to, unix.SHUT_RDWR)
		}
		if n <= 0 {
			return err
		}
		// The kernel does not know an interrupted request, and no request after the end.
		if _, err := unix.Write(to, packet[:n]); err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EPERM) {
			return err
		}
	}
}

// SPDX-License-Identifier: MPL-2.0

package server_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/files"
	"github.com/lkl-nomad/nomad-driver-lkl/files/jail"
	"github.com/lkl-nomad/nomad-driver-lkl/files/server"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// jailEnv names a built file server. The tests then use this program, in its jail, in place of
// a server in their own process.
const jailEnv = "LKL_TEST_FILE_SERVER"

// The jail refuses nothing that the server needs.
func TestServe_WorksInItsJail(t *testing.T) {
	testenv.Need(t, testenv.Root)
	if os.Getenv(jailEnv) != "" {
		t.Skip("runs in the jail already")
	}
	program := filepath.Join(t.TempDir(), files.Program)
	build := exec.Command("go", "build", "-o", program, "../../cmd/"+files.Program)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	output, err := build.CombinedOutput()
	must.NoError(t, err, must.Sprint(string(output)))

	// The second test counts the descriptors of its own process.
	again := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^Test", "-test.skip=^Fuzz|^TestServe_ClosesWhatTheGuestForgets$")
	again.Env = append(os.Environ(), jailEnv+"="+program)
	output, err = again.CombinedOutput()
	must.NoError(t, err, must.Sprint(string(output)))
}

// serveInJail starts the program that jailEnv names with a socket, and closes config's files.
func serveInJail(t testing.TB, program string, config server.Config) {
	t.Helper()
	f, err := os.Open(program)
	must.NoError(t, err)
	defer f.Close()
	config.Plan.Version = files.Version
	j, err := jail.Start(config.Plan, jail.Files{Program: int(f.Fd()), Conn: config.Socket, Shares: config.Shares})
	must.NoError(t, err)
	for _, fd := range append(config.Shares, config.Socket) {
		must.NoError(t, unix.Close(fd))
	}
	t.Cleanup(func() { // after that of the guest's end of the socket
		var status syscall.WaitStatus
		_, err := syscall.Wait4(j.Pid, &status, 0, nil)
		must.NoError(t, err)
		must.Eq(t, "exited with 0", j.Ended(status))
	})
}

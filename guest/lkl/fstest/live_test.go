// SPDX-License-Identifier: MPL-2.0

package fstest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/files"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv/shares"
)

// liveConfig mounts the first share of a file server on /live.
const liveConfig = `{\"mounts\":[{\"device\":\"0\",\"path\":\"/live\",\"type\":\"hostfs\",\"options\":\"nosuid,nodev\"}]}`

// guestOnServer returns a command that runs the program in a guest. The first share of the
// server is /live.
func guestOnServer(t *testing.T, server *shares.Server, args ...string) *exec.Cmd {
	t.Helper()
	run := []string{
		"run", "--mem=256", "--block:rootfs=" + buildRoot(t, 64<<20), "--net:files=@3", "--", compileGuest(t),
		"--config", liveConfig, "--",
	}
	cmd := exec.CommandContext(limited(t), testenv.Plugin(t), append(run, args...)...)
	cmd.ExtraFiles = []*os.File{server.Guest}
	return cmd
}

func TestLive_GivesNativeAnswers(t *testing.T) {
	for _, user := range users {
		t.Run(user.name, func(t *testing.T) {
			native := runNatively(t, append(user.options, newDirectory(t))...)
			server := serve(t, user.uid, []files.Share{{}}, newDirectory(t))
			guest := output(t, guestOnServer(t, server, append(user.options, "/live")...))
			requireSame(t, native, guest, liveDifferences(t))
		})
	}
}

func TestRandom_LiveDirectoryHasEveryByte(t *testing.T) {
	t.Parallel()
	dir := newDirectory(t)
	out := output(t, guestOnServer(t, serve(t, 0, []files.Share{{}}, dir), randomArgs(t, "/live")...))
	requireDigest(t, filepath.Join(dir, "file"), out)
}

// While the guest changes its file, the host replaces another one by rename, and creates and
// removes others. The guest reads whole versions, none of them twice in the wrong order.
func TestRandom_HostChangesOtherFilesMeanwhile(t *testing.T) {
	t.Parallel()
	dir := newDirectory(t)
	cmd := guestOnServer(t, serve(t, 0, []files.Share{{}}, dir), randomArgs(t, "/live")...)
	ended, stopped := make(chan struct{}), make(chan error, 1)
	go func() { stopped <- changeFiles(dir, ended) }()
	out := output(t, cmd)
	close(ended)
	must.NoError(t, <-stopped)
	requireDigest(t, filepath.Join(dir, "file"), out)
}

// changeFiles replaces the file that the program watches until a channel is closed. It also
// creates, renames and removes files and directories.
func changeFiles(dir string, ended <-chan struct{}) error {
	path := func(name string) string { return filepath.Join(dir, name) }
	for version := 0; ; version++ {
		select {
		case <-ended:
			return nil
		default:
		}
		err := errors.Join(
			os.WriteFile(path("next"), fmt.Appendf(nil, "version %d\n", version), 0o644),
			os.Rename(path("next"), path("version")),
			os.Mkdir(path("directory"), 0o755),
			os.WriteFile(path("directory/a"), nil, 0o644),
			os.Rename(path("directory"), path("moved")),
			os.RemoveAll(path("moved")),
		)
		if err != nil {
			return err
		}
	}
}

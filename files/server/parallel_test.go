// SPDX-License-Identifier: MPL-2.0

package server_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/files/fuse"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// A file system that does not answer stops one request, not the others.
func TestServe_AnswersWhileOtherRequestsWait(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.Fuse)
	stuck, shared := t.TempDir(), t.TempDir()
	write(t, "a", stuck, "a")
	write(t, "b", stuck, "b")
	slow, process := mountServer(t, stuck)
	c := connect(t, []string{slow + "/0", shared})
	root, file := c.walk("0"), c.walk("0", "a")
	fh, errno := c.open(fuse.Open, file, unix.O_RDWR)
	must.Zero(t, errno)
	waiting := map[uint64]bool{}
	must.NoError(t, process.Signal(unix.SIGSTOP))
	t.Cleanup(func() { must.NoError(t, process.Signal(unix.SIGCONT)) }) // if the test fails before
	var status unix.WaitStatus
	_, err := unix.Wait4(process.Pid, &status, unix.WUNTRACED, nil)
	must.NoError(t, err)
	must.True(t, status.Stopped())
	for _, request := range []func(){
		func() { c.send(fuse.Fsync, file, &fuse.FsyncIn{FH: fh}) }, // passes the turn on
		func() { c.send(fuse.Lookup, root, "b") },                  // loses the turn
		func() { c.send(fuse.Mkdir, root, &fuse.MkdirIn{Mode: 0o755}, "d") },
	} {
		request()
		waiting[c.unique] = true
		for range 10 {
			_, errno := c.lookup(fuse.RootID, "1")
			must.Zero(t, errno)
		}
	}
	must.NoError(t, process.Signal(unix.SIGCONT))
	for range 3 {
		answer, _ := c.receive()
		must.True(t, waiting[answer.Unique])
		must.Zero(t, answer.Error)
		delete(waiting, answer.Unique)
	}
}

func TestServe_ServesManyProgramsAtATime(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.Fuse)
	shared := t.TempDir()
	mounted, _ := mountServer(t, shared)
	failures := make(chan error, 8)
	for program := range 8 {
		go func() { failures <- useFiles(mounted+"/0", program) }()
	}
	for range 8 {
		must.NoError(t, <-failures)
	}
	entries, err := os.ReadDir(shared)
	must.NoError(t, err)
	must.Len(t, 1, entries) // the file that all programs have replaced
}

// useFiles creates, renames, lists and removes files beside other programs.
func useFiles(dir string, program int) error {
	for i := range 60 {
		mine := fmt.Sprintf("%s/%d-%d", dir, program, i)
		if err := os.WriteFile(mine, []byte(mine), 0o600); err != nil {
			return err
		}
		content, err := os.ReadFile(mine)
		if err != nil || string(content) != mine {
			return fmt.Errorf("%s contains %q: %w", mine, content, err)
		}
		if err := os.Mkdir(mine+"-d", 0o700); err != nil {
			return err
		}
		if _, err := os.ReadDir(dir); err != nil {
			return err
		}
		if err := os.Remove(mine + "-d"); err != nil {
			return err
		}
		if err := os.Rename(mine, dir+"/shared"); err != nil {
			return err
		}
		if content, err = os.ReadFile(dir + "/shared"); err != nil || len(content) == 0 {
			return fmt.Errorf("the shared file contains %q: %w", content, err)
		}
	}
	return nil
}

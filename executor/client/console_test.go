// SPDX-License-Identifier: MPL-2.0

package client_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/executor/client"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

var missingReport = regexp.MustCompile(`(?m)^lkl-executor: (\d+) bytes of stdout are missing after byte (\d+): the log reader was too slow$`)

// checkOutputComplete checks that the bytes read and the bytes dropped, all of which
// are reported as missing on stderr, add up to the size of the output of guest/spew.
func checkOutputComplete(t *testing.T, got, stderr []byte, dropped uint64, size int) {
	t.Helper()
	lost := 0
	for _, m := range missingReport.FindAllSubmatch(stderr, -1) {
		missing, err := strconv.Atoi(string(m[1]))
		must.NoError(t, err)
		lost += missing
		gap, err := strconv.Atoi(string(m[2]))
		must.NoError(t, err)
		must.Less(t, len(got)+1, gap)
	}
	must.Eq(t, int(dropped), lost)
	// The executor ends a line that a gap interrupts.
	added := len(missingReport.FindAll(stderr, -1))
	must.Between(t, size, len(got)+lost, size+added)
	must.True(t, bytes.HasPrefix(got, []byte("spew 0000000001")))
	must.StrNotContains(t, string(got), "lkl-executor")
}

func TestConsole_CountsOutputThatNoReaderTakes(t *testing.T) {
	const lines, width = 20_000, 64
	task := newTask(t, "spew", "lines="+strconv.Itoa(lines))
	c := task.start(t)
	// Without a reader, the guest blocks for a second and then continues.
	exit := waitExit(t, c)
	must.Eq(t, 0, exit.Code)
	onDisk, err := client.ReadExit(task.plan.Dir)
	must.NoError(t, err)
	must.Positive(t, onDisk.Dropped)
	must.Positive(t, exit.Dropped)
	checkOutputComplete(t, task.readOutput(t), task.readStderr(t), exit.Dropped, lines*width)
}

func TestConsole_ReportsMissingBytesToALateReader(t *testing.T) {
	task := newTask(t, "spew", "")
	c := task.start(t)
	must.Wait(t, testenv.EventuallyTrue(func() bool {
		s, err := c.State(deadline(t))
		must.NoError(t, err)
		return s.Dropped > 1<<20
	}), must.Sprint("output is dropped"))
	must.StrNotContains(t, string(task.readStderr(t)), "missing")
	task.awaitLine(t, "spew")
	must.Wait(t, testenv.EventuallyTrue(func() bool { return missingReport.Match(task.readStderr(t)) }), must.Sprint("a report"))
	must.NoError(t, c.Stop(deadline(t), unix.SIGKILL, 0))
}

func TestConsole_DeliversOrCountsEveryByte(t *testing.T) {
	const lines, width = 100_000, 64
	task := newTask(t, "spew", "lines="+strconv.Itoa(lines))
	c := task.start(t)
	must.Wait(t, testenv.EventuallyTrue(func() bool {
		s, err := c.State(deadline(t))
		return err != nil || s.Dropped > 0
	}), must.Sprint("output is dropped"))
	got := task.readOutput(t)
	exit := waitExit(t, c)
	must.Positive(t, exit.Dropped)
	checkOutputComplete(t, got, task.readStderr(t), exit.Dropped, lines*width)
}

// Nothing is dropped unless this test stalls for a second: see
// TestConsole_LosesNothingWhileTheReaderMakesProgress.
func TestConsole_ContinuesWithANewReader(t *testing.T) {
	const lines, width = 10_000, 64
	task := newTask(t, "spew", "lines="+strconv.Itoa(lines))
	c := task.start(t)
	// As after a restart of Nomad's agent.
	first := make([]byte, 100_000)
	_, err := io.ReadFull(task.out, first)
	must.NoError(t, err)
	second, err := os.OpenFile(task.plan.Stdout, os.O_RDONLY|unix.O_NONBLOCK, 0)
	must.NoError(t, err)
	must.NoError(t, task.out.Close())
	task.out = second
	got := append(first, task.readOutput(t)...)
	exit := waitExit(t, c)
	checkOutputComplete(t, got, task.readStderr(t), exit.Dropped, lines*width)
}

func TestConsole_DoesNotBlockAGuestWithoutReader(t *testing.T) {
	task := newTask(t, "spew", "lines=10000")
	must.NoError(t, task.out.Close())
	exit := waitExit(t, task.start(t))
	must.Eq(t, 0, exit.Code)
	must.Positive(t, exit.Dropped)
}

func TestConsole_AppendsToAFile(t *testing.T) {
	task := newTask(t, "spew", "lines=10000 width=100")
	task.plan.Stdout = task.plan.Dir + "/console.log"
	must.NoError(t, os.WriteFile(task.plan.Stdout, []byte("before\n"), 0o600))
	exit := waitExit(t, task.start(t))
	must.Zero(t, exit.Dropped)
	got, err := os.ReadFile(task.plan.Stdout)
	must.NoError(t, err)
	must.Eq(t, 7+1_000_000, len(got))
	must.True(t, bytes.HasPrefix(got, []byte("before\nspew 0000000001")))
}

// Other tasks of an alloc may write to the directory of Nomad's FIFOs.
func TestConsole_FollowsNoLinkBelowTheOutputRoot(t *testing.T) {
	for _, where := range []string{"fifo", "directory"} {
		t.Run(where, func(t *testing.T) {
			outside, root := t.TempDir(), t.TempDir()
			victim, logs := filepath.Join(outside, "out.fifo"), filepath.Join(root, "logs")
			must.NoError(t, os.WriteFile(victim, []byte("unchanged"), 0o600))
			if where == "fifo" {
				must.NoError(t, os.Mkdir(logs, 0o777))
				must.NoError(t, os.Symlink(victim, filepath.Join(logs, "out.fifo")))
			} else {
				must.NoError(t, os.Symlink(outside, logs))
			}
			task := newTask(t, "hello", "")
			task.plan.OutputRoot, task.plan.Stdout = root, filepath.Join(logs, "out.fifo")
			c, _, err := client.Start(deadline(t), executorBinary, task.plan, task.files)
			if err == nil {
				t.Cleanup(func() { destroy(t, task.plan.Dir) })
				waitExit(t, c)
			}
			must.Error(t, err)
			got, err := os.ReadFile(victim)
			must.NoError(t, err)
			must.Eq(t, "unchanged", string(got))
		})
	}
}

// Another task of the alloc can put any file in place of Nomad's FIFO, device nodes
// included: to append to a block device writes at its beginning.
func TestConsole_OpensOnlyAFIFOBelowTheOutputRoot(t *testing.T) {
	testenv.Need(t, testenv.Root) // to make device nodes
	deviceNode := func(kind uint32, major, minor uint32) func(string) error {
		return func(path string) error { return unix.Mknod(path, kind|0o600, int(unix.Mkdev(major, minor))) }
	}
	for name, create := range map[string]func(path string) error{
		"character device":     deviceNode(unix.S_IFCHR, 1, 3), // /dev/null
		"missing block device": deviceNode(unix.S_IFBLK, 240, 9),
		"regular file":         func(path string) error { return os.WriteFile(path, nil, 0o600) },
		"hard link": func(path string) error {
			return errors.Join(os.WriteFile(path+".other", nil, 0o600), os.Link(path+".other", path))
		},
		"symbolic link": func(path string) error {
			return errors.Join(os.WriteFile(path+".other", nil, 0o600), os.Symlink(path+".other", path))
		},
		"directory": func(path string) error { return os.Mkdir(path, 0o700) },
		"socket":    func(path string) error { return unix.Mknod(path, unix.S_IFSOCK|0o600, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			output := filepath.Join(root, "out.fifo")
			must.NoError(t, create(output))
			task := newTask(t, "hello", "")
			task.plan.OutputRoot, task.plan.Stdout = root, output
			_, _, err := client.Start(deadline(t), executorBinary, task.plan, task.files)
			must.ErrorContains(t, err, "not a FIFO")
			info, err := os.Stat(output)
			must.NoError(t, err)
			if info.Mode().IsRegular() {
				must.Zero(t, info.Size())
			}
		})
	}
}

func TestConsole_RefusesAFileWithSeveralLinks(t *testing.T) {
	task := newTask(t, "hello", "")
	task.plan.Stdout = task.plan.Dir + "/console.log"
	must.NoError(t, os.WriteFile(task.plan.Stdout, nil, 0o600))
	must.NoError(t, os.Link(task.plan.Stdout, task.plan.Dir+"/other"))
	_, _, err := client.Start(deadline(t), executorBinary, task.plan, task.files)
	must.ErrorContains(t, err, "several hard links")
}

func TestConsole_FullDiskDoesNotStopTheGuest(t *testing.T) {
	task := newTask(t, "spew", "lines=1000")
	task.plan.Stdout = "/dev/full"
	exit := waitExit(t, task.start(t))
	must.Eq(t, "exited with 0", exit.Reason)
	must.Eq(t, 1000*64, exit.Dropped)
}

func TestConsole_DiscardsOutputWithoutAPath(t *testing.T) {
	for _, path := range []string{"", os.DevNull} {
		task := newTask(t, "spew", "lines=10000")
		task.plan.Stdout, task.plan.Stderr = path, path
		exit := waitExit(t, task.start(t))
		must.Zero(t, exit.Code)
		must.Zero(t, exit.Dropped)
	}
}

// The exit status is on disk while the last output still waits for a reader. The
// executor drops the output later, and only then answers.
func TestWait_ReturnsAfterTheExitStatusIsOnDisk(t *testing.T) {
	task := newTask(t, "spew", "lines=1500") // fits in the buffers, but not in the FIFO
	exit := waitExit(t, task.start(t))
	must.Positive(t, exit.Dropped)
	onDisk, err := client.ReadExit(task.plan.Dir)
	must.NoError(t, err)
	must.Zero(t, onDisk.Dropped)
}

func TestExecutor_LogsToTheTasksStderr(t *testing.T) {
	task := newTask(t, "idle", "")
	c := task.start(t)
	must.NoError(t, os.RemoveAll(task.plan.Dir)) // so that the exit status cannot be written
	must.NoError(t, c.Identity().Guest.Signal(unix.SIGKILL))
	waitGone(t, c.Identity().Executor)
	log, err := os.ReadFile(task.plan.Stderr)
	must.NoError(t, err)
	must.StrContains(t, string(log), "the exit status is only in memory")
	_, err = c.Wait(deadline(t))
	must.True(t, errors.Is(err, client.ErrLost))
}

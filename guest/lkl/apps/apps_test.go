// SPDX-License-Identifier: MPL-2.0

// Package apps tests the applications as unikernels, with real clients.
package apps

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/shoenig/test/must"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/disk"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// testLimit limits a test that starts few guests.
const testLimit = 3 * testenv.Patience

// upstreamLimit limits the part of an upstream test suite that runs by default. It
// takes less than a minute on an idle machine.
const upstreamLimit = 15 * time.Minute

// config is quoted for the guest's command line parser.
const config = `'{"interfaces":[{"name":"tap","ip":"10.0.0.2","masklen":"24","offload":"1"}],"gateway":"10.0.0.1",` +
	`"disks":[{"name":"rootfs","transfer":"1048576"}]}'`

// enterOwnNetwork runs the test again in a private network namespace, at most
// until the limit. It returns true there, and false in the original process: see
// testenv.OwnNetwork.
func enterOwnNetwork(t *testing.T, guest string, limit time.Duration) bool {
	t.Helper()
	testenv.Need(t, testenv.Tool("mke2fs"))
	testenv.Guest(t, guest)
	testenv.Plugin(t)
	return testenv.OwnNetwork(t, limit)
}

// A guest is a running guest.
type guest struct {
	cmd     *exec.Cmd
	control *os.File // the host's end of the control device
	console console
}

// A console contains the output of a guest up to now.
type console struct {
	lock   sync.Mutex
	output bytes.Buffer
}

func (c *console) Write(p []byte) (int, error) {
	c.lock.Lock()
	defer c.lock.Unlock()
	return c.output.Write(p)
}

func (c *console) String() string {
	c.lock.Lock()
	defer c.lock.Unlock()
	return c.output.String()
}

// startGuest starts a guest with 128 MiB, and waits until it accepts connections at the
// port.
func startGuest(t *testing.T, kernel, root, port string, args ...string) *guest {
	t.Helper()
	return machine{kernel, root, port, 128}.start(t, args...)
}

// buildRoot builds a root disk with the files of an application, and further files.
func buildRoot(t *testing.T, app string, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	from, root := filepath.Join(dir, "files"), filepath.Join(dir, "root.ext4")
	must.NoError(t, os.CopyFS(from, os.DirFS(strings.TrimSuffix(testenv.Guest(t, app+".spt"), ".spt")+".root")))
	for name, content := range files {
		must.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(from, name)), 0o755))
		must.NoError(t, os.WriteFile(filepath.Join(from, name), []byte(content), 0o644))
	}
	must.NoError(t, disk.Build(t.Context(), from, root, disk.BuildOptions{Size: 64 << 20}))
	return root
}

// A machine describes a guest: its kernel, root disk, port (or "") and memory in MiB.
type machine struct {
	kernel, root, port string
	memory             int
}

// quote quotes a word for the guest's command line parser.
func quote(word string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(word) + `"`
}

func (m machine) start(t *testing.T, args ...string) *guest {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	must.NoError(t, err)
	theirs := os.NewFile(uintptr(fds[1]), "theirs")
	defer theirs.Close()
	g := &guest{control: os.NewFile(uintptr(fds[0]), "ours")}
	words := []string{
		"run", fmt.Sprintf("--mem=%d", m.memory), "--net:control=@3", "--net:tap=tap0", "--net-offload:tap", "--block:rootfs=" + m.root,
		// As under the driver. With a call for each sector, SIGKILL can tear a block of
		// the journal.
		"--block-transfer:rootfs=1048576",
		"--", testenv.Guest(t, m.kernel), "--config", config, "--",
	}
	for _, arg := range args {
		words = append(words, quote(arg))
	}
	ctx, cancel := context.WithTimeout(context.Background(), testLimit)
	g.cmd = exec.CommandContext(ctx, testenv.Plugin(t), words...)
	g.cmd.ExtraFiles = []*os.File{theirs}
	g.cmd.Stdout, g.cmd.Stderr = &g.console, &g.console
	must.NoError(t, g.cmd.Start())
	t.Cleanup(func() {
		cancel()
		_ = g.control.Close()
		if g.cmd.ProcessState == nil {
			_ = g.cmd.Wait()
		}
	})
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("console: %s", &g.console)
		}
	})
	if m.port != "" {
		waitForServer(t, "10.0.0.2:"+m.port)
	}
	return g
}

// signal sends a signal to the program.
func (g *guest) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	_, err := fmt.Fprintf(g.control, "signal %d", s)
	must.NoError(t, err)
}

// stop sends a signal that ends the program, and returns its exit status and output.
func (g *guest) stop(t *testing.T, s syscall.Signal) (int, string) {
	t.Helper()
	_, err := fmt.Fprintf(g.control, "stop %d", s)
	must.NoError(t, err)
	return g.output()
}

// output waits for the guest's end, and returns its exit status and output.
func (g *guest) output() (int, string) {
	_ = g.cmd.Wait() // the status is in ProcessState
	return g.cmd.ProcessState.ExitCode(), g.console.String()
}

// waitForServer waits until something accepts connections at the address.
func waitForServer(t *testing.T, address string) {
	t.Helper()
	dial := func() error {
		c, err := net.DialTimeout("tcp", address, time.Second)
		if err != nil {
			return err
		}
		return c.Close()
	}
	must.Wait(t, testenv.Eventually(dial))
}

// queryRedis sends commands one after the other, and returns their answers as
// received.
func queryRedis(t *testing.T, count int, command func(i int) string) []string {
	t.Helper()
	c, err := net.Dial("tcp", "10.0.0.2:6379")
	must.NoError(t, err)
	defer c.Close()
	must.NoError(t, c.SetDeadline(time.Now().Add(testenv.Patience)))
	var answers []string
	buffer := make([]byte, 4096)
	for i := range count {
		_, err := fmt.Fprintf(c, "%s\r\n", command(i))
		must.NoError(t, err)
		n, err := c.Read(buffer)
		must.NoError(t, err)
		answers = append(answers, string(buffer[:n]))
	}
	return answers
}

// setKeysUntilClosed sets the keys of a round, one after the other, until the
// guest closes the connection. It calls end in parallel after the 200th key, and
// returns the number of keys that the guest has confirmed.
func setKeysUntilClosed(t *testing.T, round int, end func()) (confirmed int) {
	t.Helper()
	c, err := net.Dial("tcp", "10.0.0.2:6379")
	must.NoError(t, err)
	defer c.Close()
	must.NoError(t, c.SetDeadline(time.Now().Add(testenv.Patience)))
	var group sync.WaitGroup
	defer group.Wait()
	answer := make([]byte, 64)
	for {
		if _, err := fmt.Fprintf(c, "SET k%d-%d v%d-%d\r\n", round, confirmed, round, confirmed); err != nil {
			return confirmed
		}
		n, err := c.Read(answer)
		if err != nil {
			return confirmed
		}
		must.Eq(t, "+OK\r\n", string(answer[:n]))
		if confirmed++; confirmed == 200 {
			group.Go(func() {
				end()
				// A killed guest does not close its connections.
				_ = c.SetDeadline(time.Now().Add(2 * time.Second))
			})
		}
	}
}

// journalNeedsReplay reports whether the image's journal needs a replay.
func journalNeedsReplay(t *testing.T, image string) bool {
	t.Helper()
	out, err := exec.Command("dumpe2fs", "-h", image).CombinedOutput()
	must.NoError(t, err, must.Sprintf("%s", out))
	return bytes.Contains(out, []byte("needs_recovery"))
}

// A guest ends while a client writes to it and redis rewrites its append-only file
// again and again: once by SIGTERM through its control device, and once by SIGKILL. All
// confirmed keys must exist at the next start.
func TestRedis_ConfirmedWritesSurviveStopAndKill(t *testing.T) {
	if !enterOwnNetwork(t, "lkl-redis.spt", testLimit) {
		return
	}
	testenv.Need(t, testenv.Tool("dumpe2fs"))
	root := redisRoot(t, 64<<20)
	args := []string{redisConfig, "--appendfsync", "always", "--auto-aof-rewrite-min-size", "1kb", "--auto-aof-rewrite-percentage", "5"}
	confirmedKeys := make([]int, 2)
	for round, kill := range []bool{false, true} {
		g := startGuest(t, "lkl-redis.spt", root, "6379", args...)
		confirmedKeys[round] = setKeysUntilClosed(t, round, func() {
			if kill {
				_ = g.cmd.Process.Kill()
				return
			}
			_, _ = g.control.WriteString("stop 15")
		})
		err := g.cmd.Wait() // returns when the guest has closed its console
		must.GreaterEq(t, 200, confirmedKeys[round], must.Sprint(&g.console))
		if !kill {
			must.NoError(t, err, must.Sprint(&g.console))
		}
		must.Eq(t, kill, journalNeedsReplay(t, root))
	}
	_ = startGuest(t, "lkl-redis.spt", root, "6379", args...)
	for round, confirmed := range confirmedKeys {
		t.Logf("round %d: %d keys confirmed", round, confirmed)
		for i, a := range queryRedis(t, confirmed, func(i int) string { return fmt.Sprintf("GET k%d-%d", round, i) }) {
			value := fmt.Sprintf("v%d-%d", round, i)
			must.Eq(t, fmt.Sprintf("$%d\r\n%s\r\n", len(value), value), a)
		}
	}
}

func TestNginx_ServesFilesToManyClients(t *testing.T) {
	if !enterOwnNetwork(t, "lkl-nginx.spt", testLimit) {
		return
	}
	dir := t.TempDir()
	files, root := filepath.Join(dir, "files"), filepath.Join(dir, "root.ext4")
	must.NoError(t, os.CopyFS(files, os.DirFS(strings.TrimSuffix(testenv.Guest(t, "lkl-nginx.spt"), ".spt")+".root")))
	random := rand.NewChaCha8([32]byte{1})
	contents := map[string][]byte{}
	for _, size := range []int{0, 1, 1 << 10, 4097, 100 << 10, 10_000_000} {
		content := make([]byte, size)
		_, _ = random.Read(content) // never fails
		name := fmt.Sprint(size)
		contents[name] = content
		must.NoError(t, os.WriteFile(filepath.Join(files, "www", name), content, 0o644))
	}
	must.NoError(t, disk.Build(t.Context(), files, root, disk.BuildOptions{Size: 64 << 20}))
	_ = startGuest(t, "lkl-nginx.spt", root, "80")

	const clients = 50
	errs := make([]error, clients)
	var group sync.WaitGroup
	for i := range clients {
		group.Go(func() {
			client := http.Client{Timeout: testenv.Patience, Transport: &http.Transport{}}
			for name, content := range contents {
				if len(content) > 1<<20 && i%5 != 0 {
					continue // ten clients are enough for large files
				}
				if errs[i] = checkFile(&client, name, content); errs[i] != nil {
					return
				}
			}
		})
	}
	group.Wait()
	for _, err := range errs {
		must.NoError(t, err)
	}
}

// checkFile requests a file, and returns an error if its content differs.
func checkFile(client *http.Client, name string, content []byte) error {
	answer, err := client.Get("http://10.0.0.2/" + name)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	got, err := io.ReadAll(answer.Body)
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	if answer.StatusCode != http.StatusOK || !bytes.Equal(got, content) {
		return fmt.Errorf("%s: %s, content differs: %d bytes, not %d", name, answer.Status, len(got), len(content))
	}
	return nil
}

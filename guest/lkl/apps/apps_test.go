// SPDX-License-Identifier: MPL-2.0

// Package apps holds the tests of redis, nginx and Python as unikernels.
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
	"testing"
	"time"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/disk"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// patience is how long a test may take that is not of many parts.
const patience = 50 * time.Second

// config is quoted for the guest, which takes its words apart again.
const config = `'{"interfaces":[{"name":"tap","ip":"10.0.0.2","masklen":"24","offload":"1"}],"gateway":"10.0.0.1"}'`

// namespaced has the test of a guest run in a network of its own, for so long at
// most: see testenv.OwnNetwork.
func namespaced(t *testing.T, guest string, limit time.Duration) bool {
	t.Helper()
	testenv.Need(t, testenv.Tool("mke2fs"))
	testenv.Guest(t, guest)
	testenv.Plugin(t)
	return testenv.OwnNetwork(t, limit)
}

// A guest runs, and can be stopped by its control device.
type guest struct {
	cmd     *exec.Cmd
	control *os.File
	console bytes.Buffer
}

// start runs a guest until it answers at the port.
func start(t *testing.T, kernel, root, port string, args ...string) *guest {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	must.NoError(t, err)
	theirs := os.NewFile(uintptr(fds[1]), "theirs")
	defer theirs.Close()
	g := &guest{control: os.NewFile(uintptr(fds[0]), "ours")}
	words := []string{
		"run", "--mem=128", "--net:control=@3", "--net:tap=tap0", "--net-offload:tap", "--block:rootfs=" + root,
		"--", testenv.Guest(t, kernel), "--config", config, "--",
	}
	ctx, cancel := context.WithTimeout(context.Background(), 40*time.Second)
	g.cmd = exec.CommandContext(ctx, testenv.Plugin(t), append(words, args...)...)
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
	answers(ctx, t, "10.0.0.2:"+port)
	return g
}

// answers waits until something listens at the address: nothing tells it.
func answers(ctx context.Context, t *testing.T, address string) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		c, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			must.NoError(t, c.Close())
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("the guest does not answer at %s: %v", address, err)
		}
	}
}

// redis sends so many commands, one after the other, and gives their answers as
// they come.
func redis(t *testing.T, count int, command func(i int) string) []string {
	t.Helper()
	c, err := net.Dial("tcp", "10.0.0.2:6379")
	must.NoError(t, err)
	defer c.Close()
	must.NoError(t, c.SetDeadline(time.Now().Add(20*time.Second)))
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

// write sets keys of the round, one after the other, until the guest is gone,
// and gives how many it has confirmed. After the 200th it calls end beside that.
func write(t *testing.T, round int, end func()) (confirmed int) {
	t.Helper()
	c, err := net.Dial("tcp", "10.0.0.2:6379")
	must.NoError(t, err)
	defer c.Close()
	must.NoError(t, c.SetDeadline(time.Now().Add(20*time.Second)))
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
				// Who is killed closes no connection.
				_ = c.SetDeadline(time.Now().Add(2 * time.Second))
			})
		}
	}
}

// needsReplay tells whether the image's journal has to be replayed.
func needsReplay(t *testing.T, image string) bool {
	t.Helper()
	out, err := exec.Command("dumpe2fs", "-h", image).CombinedOutput()
	must.NoError(t, err, must.Sprintf("%s", out))
	return bytes.Contains(out, []byte("needs_recovery"))
}

// The guest ends while it is being written to: by its control device's SIGTERM,
// and by kill -9. What it has confirmed is there at the next start.
func TestRedis_KeepsWhatItHasConfirmed(t *testing.T) {
	if !namespaced(t, "lkl-redis.spt", patience) {
		return
	}
	testenv.Need(t, testenv.Tool("dumpe2fs"))
	root := filepath.Join(t.TempDir(), "root.ext4")
	must.NoError(t, disk.Build(t.Context(), strings.TrimSuffix(testenv.Guest(t, "lkl-redis.spt"), ".spt")+".root", root,
		disk.BuildOptions{Size: 64 << 20}))
	kept := make([]int, 2)
	for round, kill := range []bool{false, true} {
		g := start(t, "lkl-redis.spt", root, "6379", "/etc/redis.conf", "--appendfsync", "always")
		kept[round] = write(t, round, func() {
			if kill {
				_ = g.cmd.Process.Kill()
				return
			}
			_, _ = g.control.WriteString("stop 15")
		})
		err := g.cmd.Wait() // its console too, so the guest itself
		must.GreaterEq(t, 200, kept[round], must.Sprint(&g.console))
		if !kill {
			must.NoError(t, err, must.Sprint(&g.console))
		}
		must.Eq(t, kill, needsReplay(t, root))
	}
	_ = start(t, "lkl-redis.spt", root, "6379", "/etc/redis.conf", "--appendfsync", "always")
	for round, confirmed := range kept {
		t.Logf("round %d: %d were confirmed", round, confirmed)
		for i, a := range redis(t, confirmed, func(i int) string { return fmt.Sprintf("GET k%d-%d", round, i) }) {
			value := fmt.Sprintf("v%d-%d", round, i)
			must.Eq(t, fmt.Sprintf("$%d\r\n%s\r\n", len(value), value), a)
		}
	}
}

func TestNginx_ServesFilesExactlyToManyAtOnce(t *testing.T) {
	if !namespaced(t, "lkl-nginx.spt", patience) {
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
	_ = start(t, "lkl-nginx.spt", root, "80")

	const clients = 50
	errs := make([]error, clients)
	var group sync.WaitGroup
	for i := range clients {
		group.Go(func() {
			client := http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{}}
			for name, content := range contents {
				if len(content) > 1<<20 && i%5 != 0 {
					continue // ten of them are enough
				}
				if errs[i] = same(&client, name, content); errs[i] != nil {
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

// same tells whether the server's file has the content.
func same(client *http.Client, name string, content []byte) error {
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
		return fmt.Errorf("%s: %s, and other bytes than the file's: %d of %d", name, answer.Status, len(got), len(content))
	}
	return nil
}

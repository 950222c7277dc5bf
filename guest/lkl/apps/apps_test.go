// SPDX-License-Identifier: MPL-2.0

// Package apps holds the tests of redis and nginx as unikernels.
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

const (
	inNamespace = "LKL_APPS_TEST_NAMESPACE"
	// config is quoted for the guest, which takes its words apart again.
	config = `'{"interfaces":[{"name":"tap","ip":"10.0.0.2","masklen":"24","offload":"1"}],"gateway":"10.0.0.1"}'`
)

// namespaced runs the test again in a network namespace of its own, with a tap
// "tap0", and tells whether this is that program.
func namespaced(t *testing.T, guest string) bool {
	t.Helper()
	testenv.Need(t, testenv.Root, testenv.Tun, testenv.Tool("ip"), testenv.Tool("mke2fs"))
	testenv.Guest(t, guest)
	testenv.Plugin(t)
	if os.Getenv(inNamespace) != "" {
		for _, args := range []string{"tuntap add tap0 mode tap", "addr add 10.0.0.1/24 dev tap0", "link set tap0 up"} {
			out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput()
			must.NoError(t, err, must.Sprintf("ip %s: %s", args, out))
		}
		return true
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=50s")
	cmd.Env = append(os.Environ(), inNamespace+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("in its own namespace: %v\n%s", err, out)
	}
	return false
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

// redis sends commands and gives the answers, which end at the first that is not
// followed by another.
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

func TestRedis_KeepsWhatItHasConfirmed(t *testing.T) {
	if !namespaced(t, "lkl-redis.spt") {
		return
	}
	const keys = 200
	root := filepath.Join(t.TempDir(), "root.ext4")
	must.NoError(t, disk.Build(t.Context(), strings.TrimSuffix(testenv.Guest(t, "lkl-redis.spt"), ".spt")+".root", root,
		disk.BuildOptions{Size: 64 << 20}))
	ends := []func(g *guest){
		func(g *guest) { // the control device's SIGTERM
			_, err := g.control.WriteString("stop 15")
			must.NoError(t, err)
			must.NoError(t, g.cmd.Wait(), must.Sprint(&g.console))
		},
		func(g *guest) { // no goodbye: the journal is replayed
			must.NoError(t, g.cmd.Process.Kill())
			_ = g.cmd.Wait()
		},
	}
	for round, end := range ends {
		g := start(t, "lkl-redis.spt", root, "6379", "/etc/redis.conf", "--appendfsync", "always")
		for _, a := range redis(t, keys, func(i int) string { return fmt.Sprintf("SET k%d-%d v%d-%d", round, i, round, i) }) {
			must.Eq(t, "+OK\r\n", a)
		}
		end(g)
	}
	_ = start(t, "lkl-redis.spt", root, "6379", "/etc/redis.conf", "--appendfsync", "always")
	for round := range ends {
		for i, a := range redis(t, keys, func(i int) string { return fmt.Sprintf("GET k%d-%d", round, i) }) {
			value := fmt.Sprintf("v%d-%d", round, i)
			must.Eq(t, fmt.Sprintf("$%d\r\n%s\r\n", len(value), value), a)
		}
	}
}

func TestNginx_ServesFilesExactlyToManyAtOnce(t *testing.T) {
	if !namespaced(t, "lkl-nginx.spt") {
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

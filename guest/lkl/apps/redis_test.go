// SPDX-License-Identifier: MPL-2.0

package apps

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/disk"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// redisRoot builds a root disk of that size for redis.
func redisRoot(t *testing.T, size int64) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "root.ext4")
	files := strings.TrimSuffix(testenv.Guest(t, "lkl-redis.spt"), ".spt") + ".root"
	must.NoError(t, disk.Build(t.Context(), files, root, disk.BuildOptions{Size: size}))
	return root
}

// A client is a connection to a redis server.
type client struct {
	conn net.Conn
	in   *bufio.Reader
	out  *bufio.Writer
}

func dialRedis(t *testing.T, address string) *client {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	must.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	must.NoError(t, conn.SetDeadline(time.Now().Add(testLimit)))
	return &client{conn, bufio.NewReader(conn), bufio.NewWriter(conn)}
}

// send sends commands and returns the error answers.
func (c *client) send(t *testing.T, count int, command func(i int) string) (refused []string) {
	t.Helper()
	const batch = 1000
	for first := 0; first < count; first += batch {
		last := min(first+batch, count)
		for i := first; i < last; i++ {
			_, _ = c.out.WriteString(command(i) + "\r\n") // Flush returns the error
		}
		must.NoError(t, c.out.Flush())
		for i := first; i < last; i++ {
			if _, err := c.answer(); err != nil {
				refused = append(refused, err.Error())
			}
		}
	}
	return refused
}

// ask returns the answer to a command.
func (c *client) ask(t *testing.T, command string) string {
	t.Helper()
	_, err := c.conn.Write([]byte(command + "\r\n"))
	must.NoError(t, err)
	answer, err := c.answer()
	must.NoError(t, err, must.Sprint(command))
	return answer
}

// answer reads an answer. That of a list is its last element.
func (c *client) answer() (string, error) {
	line, err := c.in.ReadString('\n')
	if err != nil {
		return "", err
	}
	line = strings.TrimSuffix(line, "\r\n")
	switch line[0] {
	case '-':
		return "", errors.New(line[1:])
	case '$':
		length, err := strconv.Atoi(line[1:])
		if err != nil || length < 0 { // -1 means nil
			return "", err
		}
		content := make([]byte, length+len("\r\n"))
		_, err = io.ReadFull(c.in, content)
		return string(content[:length]), err
	case '*':
		length, err := strconv.Atoi(line[1:])
		last := ""
		for ; length > 0 && err == nil; length-- {
			last, err = c.answer()
		}
		return last, err
	}
	return line[1:], nil
}

// info returns a field of INFO.
func (c *client) info(t *testing.T, field string) string {
	t.Helper()
	for line := range strings.Lines(c.ask(t, "INFO")) {
		if name, value, _ := strings.Cut(strings.TrimSpace(line), ":"); name == field {
			return value
		}
	}
	t.Fatalf("INFO has no field %s", field)
	return ""
}

// awaitInfo waits until a field of INFO has the value.
func (c *client) awaitInfo(t *testing.T, field, value string) {
	t.Helper()
	must.Wait(t, testenv.Eventually(func() error {
		if got := c.info(t, field); got != value {
			return fmt.Errorf("%s is %s, not %s", field, got, value)
		}
		return nil
	}))
}

// kill kills a guest and waits for its end.
func (g *guest) kill(t *testing.T) {
	t.Helper()
	must.NoError(t, g.cmd.Process.Kill())
	_ = g.cmd.Wait()
}

const (
	redisAddress = "10.0.0.2:6379"
	redisConfig  = "/etc/redis.conf"
)

// Clients overwrite 1,000 keys with 300 MB in all. The disk has 64 MiB.
func TestRedis_WritesToSmallDiskWithoutEnd(t *testing.T) {
	if !enterOwnNetwork(t, "lkl-redis.spt", testLimit) {
		return
	}
	root := redisRoot(t, 64<<20)
	g := startGuest(t, "lkl-redis.spt", root, "6379", redisConfig)
	c := dialRedis(t, redisAddress)
	const keys, writes = 1000, 300_000
	padding := strings.Repeat("x", 1000)
	refused := c.send(t, writes, func(i int) string { return fmt.Sprintf("SET k%d %d%s", i%keys, i, padding) })
	must.SliceEmpty(t, refused)
	rewrites, err := strconv.Atoi(c.info(t, "aof_rewrites"))
	must.NoError(t, err)
	must.Greater(t, 5, rewrites)
	must.Eq(t, "ok", c.info(t, "aof_last_bgrewrite_status"))
	_, err = g.control.WriteString("stop 15")
	must.NoError(t, err)
	must.NoError(t, g.cmd.Wait())

	_ = startGuest(t, "lkl-redis.spt", root, "6379", redisConfig)
	c = dialRedis(t, redisAddress)
	for k := range keys {
		must.Eq(t, fmt.Sprint(writes-keys+k, padding), c.ask(t, fmt.Sprint("GET k", k)))
	}
}

func TestRedis_SavesAtSavePoints(t *testing.T) {
	if !enterOwnNetwork(t, "lkl-redis.spt", testLimit) {
		return
	}
	root := redisRoot(t, 64<<20)
	args := []string{"--dir", "/data", "--protected-mode", "no", "--save", "1", "100"}
	g := startGuest(t, "lkl-redis.spt", root, "6379", args...)
	c := dialRedis(t, redisAddress)
	must.SliceEmpty(t, c.send(t, 1000, func(i int) string { return fmt.Sprintf("SET k%d v%d", i, i) }))
	c.awaitInfo(t, "rdb_changes_since_last_save", "0")
	must.Eq(t, "OK", c.ask(t, "SET later value"))
	must.Eq(t, "Background saving started", c.ask(t, "BGSAVE"))
	c.awaitInfo(t, "rdb_bgsave_in_progress", "0")
	must.Eq(t, "ok", c.info(t, "rdb_last_bgsave_status"))
	must.Eq(t, "0", c.info(t, "rdb_changes_since_last_save"))
	g.kill(t)

	_ = startGuest(t, "lkl-redis.spt", root, "6379", args...)
	c = dialRedis(t, redisAddress)
	must.Eq(t, "1001", c.ask(t, "DBSIZE"))
	must.Eq(t, "v999", c.ask(t, "GET k999"))
}

// A server with arguments alone serves the clients of its network. Only a configuration
// file enables Redis's default save points.
func TestRedis_HasDefaultsForGuests(t *testing.T) {
	if !enterOwnNetwork(t, "lkl-redis.spt", testLimit) {
		return
	}
	for _, test := range []struct {
		args []string
		save string
	}{
		{nil, ""},
		{[]string{"--maxmemory", "64mb"}, ""},
		{[]string{"--save", "900", "1"}, "900 1"},
		{[]string{"/dev/null"}, "3600 1 300 100 60 10000"},
	} {
		t.Run(fmt.Sprint(test.args), func(t *testing.T) {
			g := startGuest(t, "lkl-redis.spt", redisRoot(t, 64<<20), "6379", test.args...)
			c := dialRedis(t, redisAddress)
			must.Eq(t, "PONG", c.ask(t, "PING"))
			must.Eq(t, "OK", c.ask(t, "SET key value"))
			must.Eq(t, test.save, c.ask(t, "CONFIG GET save"))
			g.kill(t)
		})
	}
}

// The disk becomes full while redis keeps old files. It has space again when redis
// deletes them.
func TestRedis_AcceptsWritesAfterFullDisk(t *testing.T) {
	if !enterOwnNetwork(t, "lkl-redis.spt", testLimit) {
		return
	}
	root := redisRoot(t, 48<<20)
	g := startGuest(t, "lkl-redis.spt", root, "6379", redisConfig, "--auto-aof-rewrite-percentage", "0", "--aof-disable-auto-gc", "yes")
	c := dialRedis(t, redisAddress)
	padding := strings.Repeat("x", 1000)
	set := func(i int) string { return fmt.Sprintf("SET k%d %d%s", i%1000, i, padding) }
	must.SliceEmpty(t, c.send(t, 10_000, set))
	c.ask(t, "BGREWRITEAOF")
	c.awaitInfo(t, "aof_rewrite_in_progress", "0")

	refused := c.send(t, 60_000, set)
	must.SliceNotEmpty(t, refused)
	must.StrContains(t, refused[len(refused)-1], "MISCONF")
	must.StrContains(t, refused[len(refused)-1], "No space left on device")
	must.Eq(t, "err", c.info(t, "aof_last_write_status"))
	must.StrHasSuffix(t, padding, c.ask(t, "GET k1"))

	must.Eq(t, "OK", c.ask(t, "CONFIG SET aof-disable-auto-gc no"))
	c.awaitInfo(t, "aof_last_write_status", "ok")
	must.SliceEmpty(t, c.send(t, 1000, set))
	c.ask(t, "BGREWRITEAOF")
	c.awaitInfo(t, "aof_rewrite_in_progress", "0")
	must.Eq(t, "ok", c.info(t, "aof_last_bgrewrite_status"))
	g.kill(t)

	_ = startGuest(t, "lkl-redis.spt", root, "6379", redisConfig)
	c = dialRedis(t, redisAddress)
	for k := range 1000 {
		must.Eq(t, fmt.Sprint(k, padding), c.ask(t, fmt.Sprint("GET k", k)))
	}
}

// With appendfsync always redis ends when its disk is full. All confirmed writes must
// exist at the next start.
func TestRedis_ConfirmedWritesSurviveFullDisk(t *testing.T) {
	if !enterOwnNetwork(t, "lkl-redis.spt", testLimit) {
		return
	}
	root := redisRoot(t, 32<<20)
	requireConfirmedKeys(t, root, setKeysUntilFull(t, root))
}

const valueSize = 32 << 10 // an inline command has at most 64 KiB

// setKeysUntilFull sets keys until redis ends because of an error, and returns the
// number of confirmed keys.
func setKeysUntilFull(t *testing.T, root string) (confirmed int) {
	t.Helper()
	g := startGuest(t, "lkl-redis.spt", root, "6379", redisConfig, "--appendfsync", "always", "--auto-aof-rewrite-percentage", "0")
	c := dialRedis(t, redisAddress)
	value := strings.Repeat("x", valueSize)
	var err error
	for ; err == nil; confirmed++ {
		if _, err = fmt.Fprintf(c.conn, "SET k%d %s\r\n", confirmed, value); err == nil {
			_, err = c.answer()
		}
	}
	confirmed-- // the last one
	must.False(t, errors.Is(err, os.ErrDeadlineExceeded), must.Sprint("the disk has not become full"))
	_ = g.cmd.Wait()
	must.Eq(t, 1, g.cmd.ProcessState.ExitCode())
	must.Greater(t, 100, confirmed)
	t.Logf("%d keys confirmed", confirmed)
	return confirmed
}

func requireConfirmedKeys(t *testing.T, root string, confirmed int) {
	t.Helper()
	g := startGuest(t, "lkl-redis.spt", root, "6379", redisConfig)
	c := dialRedis(t, redisAddress)
	for k := range confirmed {
		must.Eq(t, fmt.Sprint(valueSize), c.ask(t, fmt.Sprint("STRLEN k", k)))
	}
	g.kill(t)
}

// A replica copies the data of a guest, in the two ways that redis has.
func TestRedis_ServesReplica(t *testing.T) {
	testenv.Need(t, testenv.Tool("redis-server"))
	if !enterOwnNetwork(t, "lkl-redis.spt", testLimit) {
		return
	}
	for _, diskless := range []string{"yes", "no"} {
		t.Run("diskless "+diskless, func(t *testing.T) {
			g := startGuest(t, "lkl-redis.spt", redisRoot(t, 64<<20), "6379", redisConfig,
				"--repl-diskless-sync", diskless, "--repl-diskless-sync-delay", "0")
			master := dialRedis(t, redisAddress)
			value := strings.Repeat("x", 1000)
			must.SliceEmpty(t, master.send(t, 10_000, func(i int) string { return fmt.Sprintf("SET k%d %d%s", i, i, value) }))

			replica := exec.Command("redis-server", "--port", "6380", "--dir", t.TempDir(), "--save", "", "--replicaof", "10.0.0.2", "6379")
			must.NoError(t, replica.Start())
			defer func() {
				_ = replica.Process.Kill()
				_ = replica.Wait()
			}()
			waitForServer(t, "127.0.0.1:6380")
			copied := dialRedis(t, "127.0.0.1:6380")
			copied.awaitInfo(t, "master_link_status", "up")
			must.Eq(t, "OK", master.ask(t, "SET later value"))
			must.Eq(t, "1", master.ask(t, "WAIT 1 0"))
			must.Eq(t, "10001", copied.ask(t, "DBSIZE"))
			must.Eq(t, "9999"+value, copied.ask(t, "GET k9999"))
			master.awaitInfo(t, "rdb_bgsave_in_progress", "0")
			g.kill(t)
		})
	}
}

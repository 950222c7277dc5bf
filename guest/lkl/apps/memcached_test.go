// SPDX-License-Identifier: MPL-2.0

package apps

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

const memcachedAddress = "10.0.0.2:11211"

// startMemcached starts memcached with a cache of 64 MiB in the least memory that
// docs/guests.md recommends for it: a task of 112 MiB has a guest of about 102.
func startMemcached(t *testing.T, files map[string]string, args ...string) *guest {
	t.Helper()
	args = append([]string{"-u", "root", "-m", "64", "-t", "1"}, args...)
	return machine{"lkl-memcached.spt", buildRoot(t, "lkl-memcached", files), "11211", 102}.start(t, args...)
}

// A lineClient is a connection to a server with a protocol of lines.
type lineClient struct {
	net.Conn
	*bufio.ReadWriter
}

func newLineClient(t *testing.T, c net.Conn, err error) lineClient {
	t.Helper()
	must.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return lineClient{c, bufio.NewReadWriter(bufio.NewReader(c), bufio.NewWriter(c))}
}

// flush sends what was written, and limits the time of the answer.
func (c lineClient) flush(t *testing.T) {
	t.Helper()
	must.NoError(t, c.SetDeadline(time.Now().Add(testenv.Patience)))
	must.NoError(t, c.Flush())
}

// ask sends a request, and returns the first line of the answer.
func (c lineClient) ask(t *testing.T, request string) string {
	t.Helper()
	_, err := c.WriteString(request + "\r\n")
	must.NoError(t, err)
	c.flush(t)
	line, err := c.ReadString('\n')
	must.NoError(t, err)
	return strings.TrimRight(line, "\r\n")
}

// fill stores as many values of a size as the client's bytes allow. Their keys begin with
// the size.
func (c lineClient) fill(t *testing.T, size, bytes int) (count int) {
	t.Helper()
	value := strings.Repeat("v", size)
	const batch = 100
	for ; count*(size+60) < bytes; count += batch {
		for i := range batch {
			_, err := fmt.Fprintf(c, "set %d-%d 0 0 %d\r\n%s\r\n", size, count+i, size, value)
			must.NoError(t, err)
		}
		c.flush(t)
		for range batch {
			line, err := c.ReadString('\n')
			must.NoError(t, err)
			must.Eq(t, "STORED\r\n", line)
		}
	}
	return count
}

// stats returns a number of the command stats.
func (c lineClient) stats(t *testing.T, name string) int {
	t.Helper()
	value := ""
	for line := c.ask(t, "stats"); line != "END"; {
		if words := strings.Fields(line); words[1] == name {
			value = words[2]
		}
		next, err := c.ReadString('\n')
		must.NoError(t, err)
		line = strings.TrimRight(next, "\r\n")
	}
	n, err := strconv.Atoi(value)
	must.NoError(t, err)
	return n
}

// The values of several sizes take more than the cache, so memcached has to evict some. It
// must not run out of memory first.
func TestMemcached_EvictsOldValues(t *testing.T) {
	testenv.Need(t, testenv.Tool("memccp"), testenv.Tool("memccat"))
	if !enterOwnNetwork(t, "lkl-memcached.spt", testLimit) {
		return
	}
	g := startMemcached(t, nil)
	conn, err := net.Dial("tcp", memcachedAddress)
	c := newLineClient(t, conn, err)
	for _, size := range []int{50, 300, 90, 1200, 20, 5000, 100_000} {
		count := c.fill(t, size, 40<<20)
		must.Eq(t, fmt.Sprintf("VALUE %d-%d 0 %d", size, count-1, size), c.ask(t, fmt.Sprintf("get %d-%d", size, count-1)))
		for range 2 { // the value and END
			_, err := c.ReadString('\n')
			must.NoError(t, err)
		}
	}
	must.Positive(t, c.stats(t, "evictions"))
	must.Zero(t, c.stats(t, "store_no_memory"))

	file := filepath.Join(t.TempDir(), "key")
	must.NoError(t, os.WriteFile(file, []byte("the value"), 0o600))
	out, err := exec.Command("memccp", "--servers="+memcachedAddress, file).CombinedOutput()
	must.NoError(t, err, must.Sprintf("%s", out))
	out, err = exec.Command("memccat", "--servers="+memcachedAddress, "key").CombinedOutput()
	must.NoError(t, err, must.Sprintf("%s", out))
	must.Eq(t, "the value\n", string(out))

	status, out2 := g.stop(t, syscall.SIGTERM)
	must.Eq(t, 0, status, must.Sprint(out2))
}

func TestMemcached_ServesTLS(t *testing.T) {
	if !enterOwnNetwork(t, "lkl-memcached.spt", testLimit) {
		return
	}
	pair := newCertificate(t, "cache")
	_ = startMemcached(t, map[string]string{"chain.pem": string(pair.chain), "key.pem": string(pair.key)},
		"-Z", "-o", "ssl_chain_cert=/chain.pem,ssl_key=/key.pem")
	conn, err := tls.Dial("tcp", memcachedAddress, &tls.Config{RootCAs: pool(pair), MinVersion: tls.VersionTLS12})
	c := newLineClient(t, conn, err)
	must.Eq(t, "STORED", c.ask(t, "set key 0 0 5\r\nvalue"))
	must.Eq(t, "VALUE key 0 5", c.ask(t, "get key"))
}

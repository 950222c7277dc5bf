// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// A redis is a connection to a Redis server.
type redis struct {
	conn net.Conn
	in   *bufio.Reader
}

// redis connects to the task's port redis, and waits until the server answers.
func (a *alloc) redis(t *testing.T) *redis {
	t.Helper()
	var r *redis
	must.Wait(t, testenv.Eventually(func() error {
		conn, err := net.DialTimeout("tcp", a.address(t, "redis"), 5*time.Second)
		if err != nil {
			return err
		}
		r = &redis{conn, bufio.NewReader(conn)}
		answer, err := r.ask("PING")
		if err == nil && answer != "PONG" {
			err = fmt.Errorf("redis answers %q", answer)
		}
		if err != nil {
			_ = conn.Close()
		}
		return err
	}))
	t.Cleanup(func() { _ = r.conn.Close() })
	return r
}

// do returns the answer to a command that must succeed. It returns nil as "".
func (r *redis) do(t *testing.T, command ...string) string {
	t.Helper()
	answer, err := r.ask(command...)
	must.NoError(t, err, must.Sprint(command))
	return answer
}

// ask sends a command and reads the answer, in the protocol RESP2. A command is a list
// of strings with their lengths. The first byte of an answer is its type.
func (r *redis) ask(command ...string) (string, error) {
	if err := r.conn.SetDeadline(time.Now().Add(testenv.Patience)); err != nil {
		return "", err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(command))
	for _, argument := range command {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(argument), argument)
	}
	if _, err := io.WriteString(r.conn, b.String()); err != nil {
		return "", err
	}
	line, err := r.in.ReadString('\n')
	if err != nil {
		return "", err
	}
	line = strings.TrimSuffix(line, "\r\n")
	if line == "" {
		return "", errors.New("redis answered an empty line")
	}
	kind, rest := line[0], line[1:]
	switch kind {
	case '+', ':':
		return rest, nil
	case '-':
		return "", errors.New(rest)
	case '$':
		return r.bulk(rest)
	}
	return "", fmt.Errorf("redis answered %q", line)
}

// bulk reads a string of that length, and the line break after it.
func (r *redis) bulk(length string) (string, error) {
	n, err := strconv.Atoi(length)
	if err != nil || n < 0 { // -1 means nil
		return "", err
	}
	content := make([]byte, n+len("\r\n"))
	_, err = io.ReadFull(r.in, content)
	return string(content[:n]), err
}

// withoutHealth returns the job of the Redis example without the task that checks Redis.
// Redis's data then has no other keys than a test's, and the alloc has one guest.
func withoutHealth(job *api.Job) *api.Job {
	group := job.TaskGroups[0]
	group.Tasks, group.Services = group.Tasks[:1], nil
	return job
}

// showsWritesInItsCheck requires that the job's check succeeds while Redis accepts writes,
// and fails while Redis refuses them, and while there is no Redis.
func showsWritesInItsCheck(t *testing.T, a *alloc) {
	t.Helper()
	r := a.redis(t)
	a.awaitChecks(t)
	must.Eq(t, "OK", r.do(t, "CONFIG", "SET", "min-replicas-to-write", "1"))
	a.awaitFailedCheck(t)
	must.Eq(t, "PONG", r.do(t, "PING"))
	must.Eq(t, "OK", r.do(t, "CONFIG", "SET", "min-replicas-to-write", "0"))
	a.awaitChecks(t)
	_, err := r.ask("SHUTDOWN")
	must.ErrorIs(t, err, io.EOF)
	a.awaitFailedCheck(t)
	a.awaitRestarts(t, 1)
	a.awaitChecks(t)
}

func TestRedis_CheckFailsWhileTheDiskIsFull(t *testing.T) {
	needRootAndTun(t)
	t.Parallel()
	a := run(t, nomad, redisWithDisk(t, "redis-full", "/volume/full.img"))
	r := a.redis(t)
	a.awaitChecks(t)
	must.Eq(t, "OK", r.do(t, "CONFIG", "SET", "auto-aof-rewrite-percentage", "0"))
	value := strings.Repeat("x", 1<<20)
	must.Wait(t, testenv.Eventually(func() error {
		_, err := r.ask("SET", "key", value)
		if err == nil {
			return errors.New("the disk has space")
		}
		must.ErrorContains(t, err, "MISCONF Errors writing to the AOF file: No space left on device")
		return nil
	}))
	a.awaitFailedCheck(t)
	must.Eq(t, "OK", r.do(t, "CONFIG", "SET", "appendonly", "no"))
	a.awaitChecks(t)
}

func TestRedis_CheckOfTheGroupFailsWithoutWrites(t *testing.T) {
	needRootAndTun(t)
	t.Parallel()
	job := lkl(t, "group.nomad.hcl", "group-refused")
	task := job.TaskGroups[0].Tasks[1]
	task.SetConfig("args", append(task.Config["args"].([]any), "--min-replicas-to-write", "1"))
	a := run(t, nomad, job)
	must.Wait(t, testenv.Eventually(func() error {
		_, err := get(a.url(t))
		if err == nil {
			return errors.New("the page has status 200")
		}
		if !strings.Contains(err.Error(), " 500 ") {
			return err
		}
		return nil
	}))
	a.awaitFailedCheck(t)
}

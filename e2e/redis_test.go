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

// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"
)

// A redisClient sends commands to a Redis server and reads the replies.
type redisClient struct {
	conn
	replies *bufio.Reader
	out     []byte // commands that have not been sent
	pending int
}

// replyLimit limits the time that a reply takes.
const replyLimit = 30 * time.Second

// A conn is a net.Conn or an os.File.
type conn interface {
	io.ReadWriteCloser
	SetDeadline(time.Time) error
}

// dialRedis connects to a server. The calls of a blocking client wait in the kernel, so no other
// thread of this program has to run before they return. It has no time limit.
func dialRedis(address string, blocking bool) (*redisClient, error) {
	c, err := net.Dial("tcp", address)
	if err != nil || !blocking {
		return newRedisClient(c), err
	}
	defer c.Close()
	file, err := c.(*net.TCPConn).File()
	if err != nil {
		return nil, err
	}
	file.Fd() // makes the socket blocking
	return newRedisClient(file), nil
}

func newRedisClient(c conn) *redisClient {
	return &redisClient{conn: c, replies: bufio.NewReaderSize(c, 64<<10)}
}

// add appends a command to the next pipeline.
func (c *redisClient) add(words ...string) {
	c.out = fmt.Appendf(c.out, "*%d\r\n", len(words))
	for _, w := range words {
		c.out = fmt.Appendf(c.out, "$%d\r\n%s\r\n", len(w), w)
	}
	c.pending++
}

// flush sends the pipeline and waits for all replies. It returns the last one. An error
// reply is an error, too.
func (c *redisClient) flush() (last string, err error) {
	_ = c.SetDeadline(time.Now().Add(replyLimit)) // a blocking client has none
	_, err = c.Write(c.out)
	for c.out = c.out[:0]; c.pending > 0 && err == nil; c.pending-- {
		var failed error
		if last, failed, err = c.readReply(); failed != nil && err == nil {
			err = failed
		}
	}
	return last, err
}

// do sends a single command and returns its reply.
func (c *redisClient) do(words ...string) (string, error) {
	c.add(words...)
	return c.flush()
}

// readReply returns a reply as text; that of an array is its last element. failed is an
// error reply of the server.
func (c *redisClient) readReply() (text string, failed, err error) {
	line, err := c.replies.ReadString('\n')
	if err != nil || len(line) < 3 {
		return "", nil, errors.Join(err, io.ErrUnexpectedEOF)
	}
	kind, rest := line[0], line[1:len(line)-2]
	if kind == '-' {
		return "", fmt.Errorf("redis: %s", rest), nil
	}
	if kind != '$' && kind != '*' {
		return rest, nil, nil
	}
	n, err := strconv.Atoi(rest)
	if err != nil || n < 0 {
		return "", nil, err
	}
	if kind == '*' {
		for range n {
			if text, failed, err = c.readReply(); failed != nil || err != nil {
				return "", failed, err
			}
		}
		return text, nil, nil
	}
	body := make([]byte, n+2)
	_, err = io.ReadFull(c.replies, body)
	return string(body[:n]), nil, err
}

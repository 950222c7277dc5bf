// SPDX-License-Identifier: MPL-2.0

// Package debugfs changes ext4 images through debugfs of e2fsprogs.
package debugfs

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"strings"

	"github.com/lkl-nomad/nomad-driver-lkl/disk/internal/e2fsprogs"
)

// ErrDamaged means that the image is not a valid ext4 file system.
var ErrDamaged = e2fsprogs.ErrDamaged

// ErrDirectoryFull means that a directory has to be enlarged (expand_dir).
var ErrDirectoryFull = e2fsprogs.ErrDirectoryFull

// Limits of a session, in bytes.
const (
	maxBatchLen  = 16 << 10 // commands that are sent before their output is read
	maxOutputLen = 1 << 20  // output of one batch
	readBuffer   = 64 << 10
)

// Session is a running debugfs that has opened an image for writing.
//
// debugfs exits with 0 even if commands fail, so failures are found in its output. It
// reads commands from a pipe and echoes each of them. Standard output and error are one
// unbuffered pipe, so every message belongs to the command that was echoed last. debugfs
// echoes comment lines as well: each batch ends with a comment that contains a random
// word, which marks the end of the batch's output.
type Session struct {
	cmd  *e2fsprogs.Cmd
	in   io.WriteCloser
	pipe *os.File // nil after Close or Kill
	out  *bufio.Reader
	mark string
}

// Options control a session.
type Options struct {
	Sandbox e2fsprogs.Sandbox
	Env     []string   // added to the environment of debugfs
	Files   []*os.File // that debugfs may read, at e2fsprogs.FilePath; see e2fsprogs.Cmd
	// FileCount is the number of files that the session will create or change.
	FileCount int64
}

// Open starts debugfs on an image. The caller must call Close, or Kill to abandon the
// image. ErrDamaged: debugfs cannot open the image.
func Open(ctx context.Context, image *os.File, o Options) (*Session, error) {
	cmd, err := e2fsprogs.Command(ctx, o.Sandbox, e2fsprogs.Debugfs, image, "-w", "-f", "-", e2fsprogs.ImagePath)
	if err != nil {
		return nil, err
	}
	cmd.Env, cmd.Files, cmd.FileCount = o.Env, o.Files, o.FileCount
	s := &Session{cmd: cmd, mark: "#" + rand.Text()}
	if s.in, s.pipe, err = cmd.StartInteractive(); err != nil {
		return nil, err
	}
	s.out = bufio.NewReaderSize(s.pipe, readBuffer)
	banner, err := s.exchange(nil)
	if err == nil && (len(banner) != 1 || !strings.HasPrefix(banner[0], "debugfs ")) {
		err = fmt.Errorf("%w: debugfs: %s", ErrDamaged, strings.Join(banner[min(1, len(banner)):], "; "))
	}
	if err != nil {
		s.Kill()
		return nil, err
	}
	return s, nil
}

// Run runs a command that prints nothing if it succeeds.
func (s *Session) Run(verb string, args ...string) error {
	line, err := Command(verb, args...)
	if err != nil {
		return err
	}
	return s.RunBatch([]string{line})
}

// RunAll runs commands that print nothing if they succeed. The error names the first
// command that failed and contains the message of debugfs.
func (s *Session) RunAll(lines iter.Seq2[string, error]) error {
	var batch []string
	size := 0
	for line, err := range lines {
		if err != nil {
			return err
		}
		batch, size = append(batch, line), size+len(line)
		if size >= maxBatchLen {
			if err := s.RunBatch(batch); err != nil {
				return err
			}
			batch, size = batch[:0], 0
		}
	}
	return s.RunBatch(batch)
}

// RunBatch is RunAll for a few commands.
func (s *Session) RunBatch(lines []string) error {
	if len(lines) == 0 {
		return nil
	}
	output, err := s.exchange(lines)
	if err != nil {
		return err
	}
	current := -1 // index of the command that was echoed last
	for _, line := range output {
		switch {
		case current+1 < len(lines) && line == echo(lines[current+1]):
			current++
		case line == "": // printed by rm
		case strings.HasPrefix(line, "Allocated inode: "): // printed by write
		default:
			return commandError(lines[max(current, 0)], line)
		}
	}
	if current != len(lines)-1 {
		return fmt.Errorf("debugfs ran %d of %d commands", current+1, len(lines))
	}
	return nil
}

// Query runs one command and returns the lines that it prints.
func (s *Session) Query(verb string, args ...string) ([]string, error) {
	line, err := Command(verb, args...)
	if err != nil {
		return nil, err
	}
	output, err := s.exchange([]string{line})
	if err != nil {
		return nil, err
	}
	if len(output) == 0 || output[0] != echo(line) {
		return nil, fmt.Errorf("debugfs did not run %q", line)
	}
	return output[1:], nil
}

// echo returns the line that debugfs prints before it runs a command.
func echo(line string) string { return "debugfs: " + line }

// commandError returns the error for a message of debugfs. The callers send commands that
// fail on a sound image only if the image is full.
func commandError(line, message string) error {
	message = strings.ToValidUTF8(strings.TrimSpace(message), "?")
	if cause := e2fsprogs.FindSpaceError(message); cause != nil {
		return fmt.Errorf("debugfs: %s: %w: %s", line, cause, message)
	}
	return fmt.Errorf("%w: debugfs: %s: %s", ErrDamaged, line, message)
}

// exchange sends lines and returns the output up to the mark. A goroutine writes them,
// because debugfs may block on its output before it has read all of its input. The
// goroutine ends at the latest when debugfs does.
func (s *Session) exchange(lines []string) ([]string, error) {
	text := strings.Join(append(lines[:len(lines):len(lines)], s.mark, ""), "\n")
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		_, _ = io.WriteString(s.in, text) // if debugfs has exited, readOutput fails
	}()
	output, err := s.readOutput()
	if err != nil {
		s.Kill()
	}
	<-sent
	return output, err
}

func (s *Session) readOutput() ([]string, error) {
	var output []string
	size := 0
	for {
		line, err := s.out.ReadSlice('\n')
		line = bytes.TrimSuffix(line, []byte("\n"))
		switch {
		case err == nil && string(line) == s.mark:
			return output, nil
		case errors.Is(err, io.EOF):
			return nil, s.cmd.DescribeEnd(strings.Join(output, "; "))
		case err != nil:
			return nil, fmt.Errorf("read from debugfs: %w", err)
		}
		if size += len(line); size > maxOutputLen {
			return nil, fmt.Errorf("debugfs printed over %d bytes: %w", maxOutputLen, ErrDamaged)
		}
		output = append(output, string(line))
	}
}

// Close makes debugfs write its changes to the image and exit. Any output at this point
// is an error.
func (s *Session) Close() error {
	if s.pipe == nil {
		return nil
	}
	s.in.Close()
	output, err := io.ReadAll(io.LimitReader(s.out, e2fsprogs.MaxOutput))
	if err == nil {
		_, err = io.Copy(io.Discard, s.out)
	}
	s.pipe.Close()
	s.pipe = nil
	err = errors.Join(err, s.cmd.Wait())
	if err == nil && len(output) > 0 {
		err = errors.New("the image could not be written back")
	}
	return s.cmd.DescribeError(err, string(output))
}

// Kill ends debugfs without regard to the image. It does nothing after Close.
func (s *Session) Kill() {
	if s.pipe == nil {
		return
	}
	s.cmd.Kill()
	s.in.Close()
	s.pipe.Close()
	s.pipe = nil
	_ = s.cmd.Wait() // reports the kill
}

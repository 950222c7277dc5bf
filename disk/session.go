// SPDX-License-Identifier: MPL-2.0

package disk

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
	"os/exec"
	"strings"
)

// How much is sent to debugfs before its answers are read, and how much one
// exchange may answer, in bytes.
const (
	sentAtOnce    = 16 << 10
	longestAnswer = 1 << 20
	longestLine   = 64 << 10
)

// session is a conversation with one debugfs about one image.
//
// debugfs exits with 0 whatever fails, so that its output has to tell. It reads
// commands from a pipe, echoes each, and prints a line that begins with '#' as it
// is: a line with a random word of ours ends the answers to what was sent before.
// Standard output and error are one pipe, which debugfs does not buffer, so that
// each message belongs to the command echoed last.
type session struct {
	ctx  context.Context
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
	pipe *os.File
	mark string
}

// openSession starts debugfs on an image. The caller closes the session.
func openSession(ctx context.Context, image *os.File, write bool, env ...string) (*session, error) {
	args := []string{"-f", "-", imagePath}
	if write {
		args = append([]string{"-w"}, args...)
	}
	cmd, err := newTool(ctx, debugfs, image, args...)
	if err != nil {
		return nil, err
	}
	cmd.Env = append(cmd.Env, env...)
	s := &session{ctx: ctx, cmd: cmd, mark: "#" + rand.Text()}
	if err := s.start(); err != nil {
		return nil, fmt.Errorf("start debugfs: %w", err)
	}
	banner, err := s.exchange(nil)
	if err == nil && (len(banner) != 1 || !strings.HasPrefix(banner[0], "debugfs ")) {
		err = fmt.Errorf("%w: debugfs: %s", ErrDamaged, strings.Join(banner[min(1, len(banner)):], "; "))
	}
	if err != nil {
		s.kill()
		return nil, err
	}
	return s, nil
}

func (s *session) start() error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer w.Close()
	s.cmd.Stdout, s.cmd.Stderr = w, w
	if s.in, err = s.cmd.StdinPipe(); err == nil {
		err = start(s.cmd)
	}
	if err != nil {
		r.Close()
		return err
	}
	s.pipe, s.out = r, bufio.NewReaderSize(r, longestLine)
	return nil
}

// do runs commands that are silent when they succeed. The error names the first
// that was not, and what debugfs said.
func (s *session) do(lines iter.Seq2[string, error]) error {
	var batch []string
	size := 0
	for line, err := range lines {
		if err != nil {
			return err
		}
		batch, size = append(batch, line), size+len(line)
		if size >= sentAtOnce {
			if err := s.doBatch(batch); err != nil {
				return err
			}
			batch, size = batch[:0], 0
		}
	}
	return s.doBatch(batch)
}

func (s *session) doBatch(batch []string) error {
	if len(batch) == 0 {
		return nil
	}
	answer, err := s.exchange(batch)
	if err != nil {
		return err
	}
	at := -1
	for _, line := range answer {
		switch {
		case at+1 < len(batch) && line == echo(batch[at+1]):
			at++
		case line == "" || strings.HasPrefix(line, "Allocated inode: "): // rm, write
		default:
			return refusal(batch[max(at, 0)], line)
		}
	}
	if at != len(batch)-1 {
		return fmt.Errorf("debugfs: %d of %d commands were run", at+1, len(batch))
	}
	return nil
}

// run does one command that is silent when it succeeds.
func (s *session) run(verb string, words ...string) error {
	line, err := command(verb, words...)
	if err != nil {
		return err
	}
	return s.doBatch([]string{line})
}

// ask runs one command and returns the lines that it printed.
func (s *session) ask(verb string, words ...string) ([]string, error) {
	line, err := command(verb, words...)
	if err != nil {
		return nil, err
	}
	answer, err := s.exchange([]string{line})
	if err != nil {
		return nil, err
	}
	if len(answer) == 0 || answer[0] != echo(line) {
		return nil, fmt.Errorf("debugfs did not run %q", line)
	}
	return answer[1:], nil
}

func echo(line string) string { return "debugfs: " + line }

func refusal(line, said string) error {
	said = strings.ToValidUTF8(strings.TrimSpace(said), "?")
	if cause := spaceError(said); cause != nil {
		return fmt.Errorf("debugfs: %s: %w: %s", line, cause, said)
	}
	return fmt.Errorf("debugfs: %s: %s", line, said)
}

// exchange sends lines and returns all that comes back, without the mark. The
// writing has a goroutine, which ends at the latest with debugfs, because either
// side may wait for the other to read.
func (s *session) exchange(lines []string) ([]string, error) {
	text := strings.Join(append(lines[:len(lines):len(lines)], s.mark, ""), "\n")
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		_, _ = io.WriteString(s.in, text) // to a debugfs that is gone: reading tells
	}()
	answer, err := s.read()
	if err != nil {
		s.kill()
	}
	<-sent
	return answer, err
}

func (s *session) read() ([]string, error) {
	var answer []string
	size := 0
	for {
		line, err := s.out.ReadSlice('\n')
		line = bytes.TrimSuffix(line, []byte("\n"))
		switch {
		case err == nil && string(line) == s.mark:
			return answer, nil
		case errors.Is(err, io.EOF):
			err = toolError(s.ctx, debugfs, io.ErrUnexpectedEOF, strings.Join(answer, "; "))
			return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
		case err != nil:
			return nil, fmt.Errorf("read from debugfs: %w", err)
		}
		if size += len(line); size > longestAnswer {
			return nil, fmt.Errorf("debugfs answered with over %d bytes: %w", longestAnswer, ErrDamaged)
		}
		answer = append(answer, string(line))
	}
}

// close lets debugfs write what is left to the image and end. What it says then
// is an error as well.
func (s *session) close() error {
	if s.pipe == nil {
		return nil
	}
	s.in.Close()
	last := &head{limit: keptOutput}
	_, err := io.Copy(last, s.out)
	s.pipe.Close()
	s.pipe = nil
	err = errors.Join(err, s.cmd.Wait())
	if err == nil && len(last.kept) > 0 {
		err = errors.New("it could not write the image back")
	}
	return toolError(s.ctx, debugfs, err, string(last.kept))
}

// kill ends a session whose image is given up; no-op after close.
func (s *session) kill() {
	if s.pipe == nil {
		return
	}
	_ = s.cmd.Process.Kill() // it may have ended by itself
	s.in.Close()
	s.pipe.Close()
	s.pipe = nil
	_ = s.cmd.Wait() // killed
}

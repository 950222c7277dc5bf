// SPDX-License-Identifier: MPL-2.0

package spt

import (
	"encoding/binary"
	"fmt"
	"syscall"
)

const (
	// linkNumber ends a table (testdata/launcher.S).
	linkNumber = ^uint64(0)
	maxErrno   = 4095
)

// A step is one system call of the launcher. Encoded it is eight words: number,
// arguments, expected result.
type step struct {
	what   string // for the error: "mapping guest memory"
	number uint64
	args   [6]uint64
	want   uint64 // any other result ends the launch
	// advice is what to do about an error; for 0 about a result that is none.
	advice map[syscall.Errno]string
}

func (s *step) encode(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, s.number)
	for _, a := range s.args {
		b = binary.LittleEndian.AppendUint64(b, a)
	}
	return binary.LittleEndian.AppendUint64(b, s.want)
}

// failure is the error of a step that had this result.
func (s *step) failure(result uint64) error {
	var errno syscall.Errno
	err := fmt.Errorf("%s: got %d, want %d", s.what, int64(result), s.want)
	if n := -int64(result); n > 0 && n <= maxErrno {
		errno = syscall.Errno(n)
		err = fmt.Errorf("%s: %w", s.what, errno)
	}
	if advice, ok := s.advice[errno]; ok {
		err = fmt.Errorf("%w: %s", err, advice)
	}
	return err
}

// link is the end of a table: with an address the walk goes on there with this
// stack, with zeros the guest begins.
func link(next, stack uint64) *step {
	return &step{number: linkNumber, args: [6]uint64{next, stack}}
}

// A table is what the launcher does, in order, and the data that its steps
// point at, which lies at scratchBase.
type table struct {
	steps []step
	data  []byte
}

// call adds a step that succeeds with zero, and returns it to be refined until
// the next is added.
func (t *table) call(what string, number int, args ...uint64) *step {
	s := step{what: what, number: uint64(number)}
	copy(s.args[:], args)
	t.steps = append(t.steps, s)
	return &t.steps[len(t.steps)-1]
}

// put adds data and returns the address that it will have.
func (t *table) put(b []byte) uint64 {
	address := scratchBase + uint64(len(t.data))
	t.data = append(t.data, b...)
	t.data = append(t.data, make([]byte, -len(t.data)&7)...)
	return address
}

// text adds a string that ends with a zero byte.
func (t *table) text(s string) uint64 { return t.put(append([]byte(s), 0)) }

// words adds numbers of eight bytes.
func (t *table) words(ws ...uint64) uint64 {
	b := make([]byte, 0, 8*len(ws))
	for _, w := range ws {
		b = binary.LittleEndian.AppendUint64(b, w)
	}
	return t.put(b)
}

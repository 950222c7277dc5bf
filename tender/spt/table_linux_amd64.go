// SPDX-License-Identifier: MPL-2.0

package spt

import (
	"encoding/binary"
	"fmt"
	"syscall"
)

const (
	// jumpNumber ends a table (testdata/launcher.S).
	jumpNumber = ^uint64(0)
	// maxErrno is MAX_ERRNO of linux/err.h: a system call returns -errno.
	maxErrno = 4095
)

// args are the arguments of a system call.
type args [6]uint64

// advice contains the remedy for each error, for the operator.
type advice map[syscall.Errno]string

// unexpectedResult is the key of the advice for a result that is neither an error
// nor the expected value.
const unexpectedResult = syscall.Errno(0)

// A step is a system call of the launcher. Encoded, it has eight words: number,
// arguments, expected result.
type step struct {
	name   string // for the error, such as "map guest memory"
	number uint64
	args   args
	want   uint64 // the launch fails on any other result
	advice advice
}

func (s *step) encode(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, s.number)
	for _, a := range s.args {
		b = binary.LittleEndian.AppendUint64(b, a)
	}
	return binary.LittleEndian.AppendUint64(b, s.want)
}

// failure returns the error for a result of the step.
func (s *step) failure(result uint64) error {
	errno := unexpectedResult
	err := fmt.Errorf("%s: unexpected result %d instead of %d", s.name, int64(result), s.want)
	if n := -int64(result); n > 0 && n <= maxErrno {
		errno = syscall.Errno(n)
		err = fmt.Errorf("%s: %w", s.name, errno)
	}
	if text, ok := s.advice[errno]; ok {
		err = fmt.Errorf("%w: %s", err, text)
	}
	return err
}

// jump returns the end of a table. The launcher continues with the table at an
// address, with this stack pointer; with the address 0, it starts the guest.
func jump(address, stack uint64) *step {
	return &step{number: jumpNumber, args: args{address, stack}}
}

// A table is the launcher's work: steps in order, and the data that their
// arguments point to. The data is at scratchBase.
type table struct {
	steps []step
	data  []byte
}

// add appends a step.
func (t *table) add(s step) { t.steps = append(t.steps, s) }

// call appends a step whose expected result is 0.
func (t *table) call(name string, number uint64, arguments ...uint64) {
	s := step{name: name, number: number}
	copy(s.args[:], arguments)
	t.add(s)
}

// put appends data and returns its address in the launcher.
func (t *table) put(b []byte) uint64 {
	address := scratchBase + uint64(len(t.data))
	t.data = append(t.data, b...)
	t.data = append(t.data, make([]byte, -len(t.data)&7)...)
	return address
}

// cString appends a NUL-terminated string and returns its address.
func (t *table) cString(s string) uint64 { return t.put(append([]byte(s), 0)) }

// uint64s appends numbers of eight bytes and returns their address.
func (t *table) uint64s(numbers ...uint64) uint64 {
	b := make([]byte, 0, 8*len(numbers))
	for _, n := range numbers {
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	return t.put(b)
}

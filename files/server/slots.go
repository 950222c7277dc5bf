// SPDX-License-Identifier: MPL-2.0

package server

import "golang.org/x/sys/unix"

const (
	chunkSize = 128
	slotBits  = 24
	noSlot    = -1
)

// A slot holds a value that requests use by its id. The id contains the slot's generation, so
// that an id of an earlier value in the same slot is not valid.
type slot[T any] struct {
	value      T
	generation uint32
	users      int32 // requests that use the value now
	next       int32 // in the list of free slots
	live       bool
}

// slots is an array of slots that grows by chunks, so that pointers to slots stay valid.
type slots[T any] struct {
	chunks [][]slot[T]
	free   int32
	used   int
	limit  int
}

func newSlots[T any](limit int) slots[T] { return slots[T]{free: noSlot, limit: limit} }

func (s *slots[T]) at(index int32) *slot[T] { return &s.chunks[index/chunkSize][index%chunkSize] }

// find returns the slot of an id, or nil.
func (s *slots[T]) find(id uint64) (*slot[T], int32) {
	index := int32(id & (1<<slotBits - 1))
	if int(index) >= len(s.chunks)*chunkSize {
		return nil, noSlot
	}
	found := s.at(index)
	if !found.live || uint64(found.generation) != id>>slotBits {
		return nil, noSlot
	}
	return found, index
}

func (s *slots[T]) id(index int32) uint64 {
	return uint64(s.at(index).generation)<<slotBits | uint64(index)
}

// take returns a free slot. It returns ENFILE if the limit is reached.
func (s *slots[T]) take() (int32, unix.Errno) {
	if s.used >= s.limit {
		return noSlot, unix.ENFILE
	}
	if s.free == noSlot {
		s.grow()
	}
	index := s.free
	taken := s.at(index)
	s.free = taken.next
	s.used++
	taken.generation++ // from 1 on: no id is as small as the root's
	taken.live = true
	return index, 0
}

func (s *slots[T]) grow() {
	first := int32(len(s.chunks) * chunkSize)
	s.chunks = append(s.chunks, make([]slot[T], chunkSize))
	for i := first + chunkSize - 1; i >= first; i-- {
		s.at(i).next = s.free
		s.free = i
	}
}

func (s *slots[T]) release(index int32) {
	released := s.at(index)
	released.live = false
	released.next = s.free
	s.free = index
	s.used--
}

// all calls f for each value.
func (s *slots[T]) all(f func(*T)) {
	for _, chunk := range s.chunks {
		for i := range chunk {
			if chunk[i].live {
				f(&chunk[i].value)
			}
		}
	}
}

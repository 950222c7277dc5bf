// SPDX-License-Identifier: MPL-2.0

package server

import (
	"sync"

	"golang.org/x/sys/unix"
)

// A handle is an open file or directory of the guest.
type handle struct {
	fd        int32
	index     int32
	share     int32
	directory bool
	released  bool
	// mu serializes reads of a directory, which depend on its position.
	mu       sync.Mutex
	position uint64
}

type handles struct {
	mu    sync.Mutex
	slots slots[handle]
}

func newHandles(limit int) *handles { return &handles{slots: newSlots[handle](limit)} }

// add makes a handle of fd, and takes fd over. fd is -1 for the root directory.
func (h *handles) add(fd int, share int32, directory bool) (uint64, unix.Errno) {
	h.mu.Lock()
	defer h.mu.Unlock()
	index, errno := h.slots.take()
	if errno != 0 {
		closeFD(fd)
		return 0, errno
	}
	opened := &h.slots.at(index).value
	opened.fd, opened.index, opened.share, opened.directory = int32(fd), index, share, directory
	opened.released, opened.position = false, 0
	return h.slots.id(index), 0
}

// get returns the handle of an id. The caller must put it back.
func (h *handles) get(id uint64, directory bool) (*handle, unix.Errno) {
	h.mu.Lock()
	defer h.mu.Unlock()
	found, _ := h.slots.find(id)
	if found == nil || found.value.released || found.value.directory != directory {
		return nil, unix.EBADF
	}
	found.users++
	return &found.value, 0
}

func (h *handles) put(used *handle) {
	h.mu.Lock()
	found := h.slots.at(used.index)
	found.users--
	fd := h.removeUnused(found)
	h.mu.Unlock()
	closeFD(fd)
}

// release ends a handle. Requests that use the handle keep it open until they end.
func (h *handles) release(id uint64, directory bool) unix.Errno {
	h.mu.Lock()
	found, _ := h.slots.find(id)
	if found == nil || found.value.released || found.value.directory != directory {
		h.mu.Unlock()
		return unix.EBADF
	}
	found.value.released = true
	fd := h.removeUnused(found)
	h.mu.Unlock()
	closeFD(fd)
	return 0
}

func (h *handles) removeUnused(found *slot[handle]) int {
	if found.users > 0 || !found.value.released {
		return -1
	}
	h.slots.release(found.value.index)
	return int(found.value.fd)
}

// close closes all handles. No request may be running.
func (h *handles) close() {
	h.slots.all(func(open *handle) { closeFD(int(open.fd)) })
	h.slots = newSlots[handle](0)
}

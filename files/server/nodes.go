// SPDX-License-Identifier: MPL-2.0

package server

import (
	"sync"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/files/fuse"
)

// A node is a file of the host that the guest knows by its node id.
type node struct {
	identity
	fd      int32  // O_PATH
	mode    uint32 // the type of the file, which never changes
	index   int32
	next    int32  // in the chain of its hash
	nlookup uint64 // answers with this node that the guest has not forgotten
}

// An identity distinguishes nodes. Two names of one file are one node, but a file seen through
// two mounts is two: one of them may be read only.
type identity struct {
	dev, ino, mount uint64
	share           int32
}

// rootShare is the share of the root directory, which belongs to no share.
const rootShare = -1

type nodes struct {
	mu    sync.Mutex
	slots slots[node]
	hash  []int32
	root  node
}

func newNodes(limit int) *nodes {
	buckets := 1024
	for buckets < limit/8 {
		buckets *= 2
	}
	n := &nodes{slots: newSlots[node](limit), hash: make([]int32, buckets)}
	for i := range n.hash {
		n.hash[i] = noSlot
	}
	n.root = node{identity: identity{share: rootShare}, fd: -1, mode: unix.S_IFDIR}
	return n
}

func (n *nodes) bucket(key *identity) *int32 {
	h := (key.ino ^ key.dev<<20 ^ key.mount<<32 ^ uint64(key.share)<<48) * 0x9e3779b97f4a7c15
	return &n.hash[(h>>32)%uint64(len(n.hash))]
}

// get returns the node of an id. The caller must put it back, so that it stays open until then.
func (n *nodes) get(id uint64) (*node, unix.Errno) {
	if id == fuse.RootID {
		return &n.root, 0
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	found, _ := n.slots.find(id)
	if found == nil {
		return nil, unix.ESTALE
	}
	found.users++
	return &found.value, 0
}

func (n *nodes) put(used *node) {
	if used == nil || used == &n.root {
		return
	}
	n.mu.Lock()
	found := n.slots.at(used.index)
	found.users--
	fd := n.removeUnused(found)
	n.mu.Unlock()
	closeFD(fd)
}

// add counts a lookup of the file that fd is open for, and takes fd over. It returns the id.
func (n *nodes) add(key identity, fd int, mode uint32) (uint64, unix.Errno) {
	n.mu.Lock()
	bucket := n.bucket(&key)
	for i := *bucket; i != noSlot; i = n.slots.at(i).value.next {
		if known := &n.slots.at(i).value; known.identity == key {
			known.nlookup++
			id := n.slots.id(i)
			n.mu.Unlock()
			closeFD(fd)
			return id, 0
		}
	}
	defer n.mu.Unlock()
	index, errno := n.slots.take()
	if errno != 0 {
		closeFD(fd)
		return 0, errno
	}
	n.slots.at(index).value = node{
		identity: key, fd: int32(fd), mode: mode & unix.S_IFMT, index: index, next: *bucket, nlookup: 1,
	}
	*bucket = index
	return n.slots.id(index), 0
}

// forget takes count lookups back, at most as many as there are.
func (n *nodes) forget(id, count uint64) {
	n.mu.Lock()
	found, _ := n.slots.find(id)
	fd := -1
	if found != nil {
		found.value.nlookup -= min(count, found.value.nlookup)
		fd = n.removeUnused(found)
	}
	n.mu.Unlock()
	closeFD(fd)
}

// removeUnused removes a node that neither the guest nor a request uses. It returns the
// descriptor to close, or -1.
func (n *nodes) removeUnused(found *slot[node]) int {
	if found.users > 0 || found.value.nlookup > 0 {
		return -1
	}
	gone := &found.value
	link := n.bucket(&gone.identity)
	for *link != gone.index {
		link = &n.slots.at(*link).value.next
	}
	*link = gone.next
	n.slots.release(gone.index)
	return int(gone.fd)
}

// close closes all nodes. No request may be running.
func (n *nodes) close() {
	n.slots.all(func(open *node) { closeFD(int(open.fd)) })
	n.slots = newSlots[node](0)
}

// SPDX-License-Identifier: MPL-2.0

package disk

import "io"

// Parts that a readAhead reads before they are used.
const (
	readAheadParts = 4
	readAheadSize  = 256 << 10 // bytes
)

// A readAhead reads from another reader in its own goroutine, so that decompressing a layer
// and unpacking it use two processors.
type readAhead struct {
	free, ready chan *readPart
	stop        chan struct{}
	current     *readPart
	rest        []byte // of current
}

// readPart is a part of the other reader's content, and the error that follows it.
type readPart struct {
	buffer []byte
	n      int
	err    error
}

// newReadAhead starts to read from r. Close must be called.
func newReadAhead(r io.Reader) *readAhead {
	a := &readAhead{
		free:  make(chan *readPart, readAheadParts),
		ready: make(chan *readPart, readAheadParts),
		stop:  make(chan struct{}),
	}
	for range readAheadParts {
		a.free <- &readPart{buffer: make([]byte, readAheadSize)}
	}
	go a.fill(r)
	return a
}

// fill reads until an error or Close.
func (a *readAhead) fill(r io.Reader) {
	defer close(a.ready)
	for {
		select {
		case <-a.stop:
			return
		case p := <-a.free:
			p.n, p.err = readFull(r, p.buffer)
			a.ready <- p // never blocks: there are as many parts as places
			if p.err != nil {
				return
			}
		}
	}
}

func (a *readAhead) Read(p []byte) (int, error) {
	for len(a.rest) == 0 {
		if a.current != nil {
			if a.current.err != nil {
				return 0, a.current.err
			}
			a.free <- a.current
		}
		a.current = <-a.ready
		a.rest = a.current.buffer[:a.current.n]
	}
	n := copy(p, a.rest)
	a.rest = a.rest[n:]
	return n, nil
}

// Close ends the goroutine. It waits for a call of the other reader's Read.
func (a *readAhead) Close() error {
	close(a.stop)
	for range a.ready {
	}
	return nil
}

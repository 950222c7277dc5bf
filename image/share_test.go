// SPDX-License-Identifier: MPL-2.0

package image_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/image"
	"github.com/lkl-nomad/nomad-driver-lkl/image/reference"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// gate blocks the requests for blobs of a kind until it is opened.
type gate struct {
	reached chan struct{} // receives one value for each blocked request
	opened  chan struct{}
	once    sync.Once
}

// blockLayers blocks the downloads of all blobs but the configs.
func (s *server) blockLayers(t *testing.T, configs ...string) *gate {
	g := &gate{reached: make(chan struct{}, 100), opened: make(chan struct{})}
	t.Cleanup(g.open)
	s.intercept(func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/blobs/") && !slices.Contains(configs, path.Base(r.URL.Path)) {
			g.reached <- struct{}{}
			select {
			case <-g.opened:
			case <-r.Context().Done():
			}
		}
		return false
	})
	return g
}

func (g *gate) open() { g.once.Do(func() { close(g.opened) }) }

func TestGet_PullsOnceForConcurrentStarts(t *testing.T) {
	s := newServer(t)
	img := webImage(t, "one")
	ref := s.push(t, "web:1", img)
	config, err := img.ConfigName()
	must.NoError(t, err)
	layers, err := img.Layers()
	must.NoError(t, err)
	g := s.blockLayers(t, config.String())
	dir := t.TempDir()
	// Two stores are like two processes: they share nothing but the directory.
	stores := []*image.Store{openStore(t, dir, s), openStore(t, dir, s)}

	const starts = 20
	results := make(chan error, starts)
	downloading := make(chan struct{}, starts)
	for i := range starts {
		policy := []image.Policy{image.PolicyMissing, image.PolicyAlways}[i/2%2]
		var once sync.Once
		go func() {
			e, err := stores[i%2].Get(t.Context(), image.Request{Reference: ref, Policy: policy, Progress: func(p image.Progress) {
				if p.Stage == image.StageDownloading {
					once.Do(func() { downloading <- struct{}{} })
				}
			}})
			if err == nil {
				err = e.Close()
			}
			results <- err
		}()
	}
	// All callers of the store that downloads see its progress, also those that join late.
	for range starts / 2 {
		testenv.Receive(t, downloading)
	}
	g.open()
	for range starts {
		must.NoError(t, testenv.Receive(t, results))
	}
	must.Eq(t, len(layers), len(g.reached))
	must.SliceEmpty(t, namesIn(t, dir, "builds"))
	must.SliceEmpty(t, namesIn(t, dir, "locks"))
}

func TestGet_CancelsAPullThatNoStartWaitsFor(t *testing.T) {
	s := newServer(t)
	img := webImage(t, "one")
	ref := s.push(t, "web:1", img)
	config, err := img.ConfigName()
	must.NoError(t, err)
	g := s.blockLayers(t, config.String())
	dir := t.TempDir()
	store := openStore(t, dir, s)

	stopped := errors.New("stopped")
	results := make(chan error, 2)
	var cancels []context.CancelCauseFunc
	for range cap(results) {
		ctx, cancel := context.WithCancelCause(t.Context())
		cancels = append(cancels, cancel)
		joined := make(chan struct{})
		var once sync.Once
		go func() {
			_, err := store.Get(ctx, image.Request{Reference: ref, Progress: func(p image.Progress) {
				if p.Stage == image.StageDownloading {
					once.Do(func() { close(joined) })
				}
			}})
			results <- err
		}()
		testenv.Receive(t, joined)
	}
	testenv.Receive(t, g.reached)
	cancels[0](stopped)
	must.ErrorIs(t, testenv.Receive(t, results), stopped)
	must.SliceLen(t, 1, namesIn(t, dir, "builds")) // the other start still waits
	cancels[1](stopped)
	must.ErrorIs(t, testenv.Receive(t, results), stopped)
	must.Wait(t, testenv.EventuallyTrue(func() bool { return len(treeOf(t, dir)) == 0 }))

	g.open()
	get(t, store, image.Request{Reference: ref})
}

func TestGet_ReportsThatOtherPullsAreAhead(t *testing.T) {
	const atATime = 8
	s := newServer(t)
	var refs []reference.Reference
	var configs []string
	for i := range atATime + 1 {
		img := webImage(t, fmt.Sprint(i))
		config, err := img.ConfigName()
		must.NoError(t, err)
		refs, configs = append(refs, s.push(t, fmt.Sprint("web:", i), img)), append(configs, config.String())
	}
	g := s.blockLayers(t, configs...)
	store := openStore(t, t.TempDir(), s)
	results, waiting := make(chan error, atATime+1), make(chan struct{})
	start := func(r image.Request) {
		go func() {
			e, err := store.Get(t.Context(), r)
			if err == nil {
				err = e.Close()
			}
			results <- err
		}()
	}
	for _, ref := range refs[:atATime] {
		start(image.Request{Reference: ref})
		testenv.Receive(t, g.reached)
	}
	var once sync.Once
	start(image.Request{Reference: refs[atATime], Progress: func(p image.Progress) {
		if p.Stage == image.StageWaiting {
			once.Do(func() { close(waiting) })
		}
	}})
	testenv.Receive(t, waiting)
	g.open()
	for range atATime + 1 {
		must.NoError(t, testenv.Receive(t, results))
	}
}

func TestClose_CancelsPulls(t *testing.T) {
	s := newServer(t)
	ref := s.push(t, "web:1", webImage(t, "one"))
	g := s.blockLayers(t)
	dir := t.TempDir()
	store := openStore(t, dir, s)
	result := make(chan error, 1)
	go func() {
		_, err := store.Get(t.Context(), image.Request{Reference: ref})
		result <- err
	}()
	testenv.Receive(t, g.reached)
	must.NoError(t, store.Close())
	must.ErrorIs(t, testenv.Receive(t, result), image.ErrClosed)
	must.SliceEmpty(t, treeOf(t, dir))
	_, err := store.Get(t.Context(), image.Request{Reference: ref})
	must.ErrorIs(t, err, image.ErrClosed)
}

func TestGet_KeepsTheLaterAnswerForATag(t *testing.T) {
	s := newServer(t)
	first, second := webImage(t, "one"), webImage(t, "two")
	ref := s.push(t, "web:1", first)
	layers, err := first.Layers()
	must.NoError(t, err)
	digest, err := layers[0].Digest()
	must.NoError(t, err)
	reached, opened := make(chan struct{}, 1), make(chan struct{})
	s.intercept(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, digest.String()) {
			reached <- struct{}{}
			<-opened
		}
		return false
	})
	store := openStore(t, t.TempDir(), s)
	always := image.Request{Reference: ref, Policy: image.PolicyAlways}
	result := make(chan error, 1)
	go func() {
		e, err := store.Get(t.Context(), always)
		if err == nil {
			err = e.Close()
		}
		result <- err
	}()
	testenv.Receive(t, reached)
	s.push(t, "web:1", second)
	must.Eq(t, digestOf(t, second), get(t, store, always).Digest)
	close(opened)
	must.NoError(t, testenv.Receive(t, result)) // the first pull ends last
	must.Eq(t, digestOf(t, second), get(t, store, image.Request{Reference: ref}).Digest)
}

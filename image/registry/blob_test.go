// SPDX-License-Identifier: MPL-2.0

package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/image/source"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// layer publishes an image, and returns its large layer with its content.
func layer(t *testing.T, s *server) (v1.Image, v1.Descriptor, []byte) {
	image, _ := published(t, s)
	manifest, err := image.Manifest()
	must.NoError(t, err)
	d := manifest.Layers[1]
	return image, d, layerContent(t, image, d.Digest)
}

// cut sends the first bytes of an answer and closes the connection.
func cut(w http.ResponseWriter, content []byte, n int) {
	_, _ = w.Write(content[:n])
	_ = http.NewResponseController(w).Flush()
	hangUp(w)
}

func hangUp(w http.ResponseWriter) {
	connection, _, err := http.NewResponseController(w).Hijack()
	if err == nil {
		_ = connection.Close()
	}
}

// rangeOf returns the first byte that a request asks for.
func rangeOf(r *http.Request) int {
	begin, _ := rangeBegin(strings.Replace(r.Header.Get("Range"), "=", " ", 1))
	return int(begin)
}

func TestBlob_ContinuesWhereTheConnectionBroke(t *testing.T) {
	for name, answer := range map[string]func(w http.ResponseWriter, r *http.Request, content []byte, i int64){
		"with ranges": func(w http.ResponseWriter, r *http.Request, content []byte, i int64) {
			if begin := rangeOf(r); i < 4 {
				if begin > 0 {
					w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", begin, len(content)-1, len(content)))
				}
				w.Header().Set("Content-Length", strconv.Itoa(len(content)-begin))
				if begin > 0 {
					w.WriteHeader(http.StatusPartialContent)
				}
				cut(w, content[begin:], 1000)
				return
			}
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
		},
		"without ranges": func(w http.ResponseWriter, _ *http.Request, content []byte, i int64) {
			w.Header().Set("Content-Length", strconv.Itoa(len(content)))
			cut(w, content, min(len(content), int(i)*200_000))
		},
		"with wrong ranges": func(w http.ResponseWriter, r *http.Request, content []byte, i int64) {
			w.Header().Set("Content-Length", strconv.Itoa(len(content)))
			switch {
			case i == 1:
				cut(w, content, 500_000)
			case r.Header.Get("Range") != "":
				w.Header().Set("Content-Range", fmt.Sprintf("bytes 0-%d/%d", len(content)-1, len(content)))
				w.WriteHeader(http.StatusPartialContent)
				_, _ = w.Write(content)
			default:
				_, _ = w.Write(content)
			}
		},
		"with refused ranges": func(w http.ResponseWriter, r *http.Request, content []byte, i int64) {
			switch {
			case i == 1:
				w.Header().Set("Content-Length", strconv.Itoa(len(content)))
				cut(w, content, 500_000)
			case r.Header.Get("Range") != "":
				w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
			default:
				_, _ = w.Write(content)
			}
		},
		"with short ranges": func(w http.ResponseWriter, r *http.Request, content []byte, i int64) {
			if i == 1 {
				w.Header().Set("Content-Length", strconv.Itoa(len(content)))
				cut(w, content, 10)
				return
			}
			begin := rangeOf(r)
			end := min(begin+300_000, len(content))
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", begin, end-1, len(content)))
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write(content[begin:end])
		},
		"after all bytes": func(w http.ResponseWriter, _ *http.Request, content []byte, _ int64) {
			cut(w, content, len(content)) // a chunked body without its end
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, true)
			_, d, content := layer(t, s)
			var count atomic.Int64
			s.answerObjects(func(w http.ResponseWriter, r *http.Request) bool {
				answer(w, r, content, count.Add(1))
				return true
			})
			got, err := readBlob(t.Context(), open(t, client(t, Options{}, s), parse(t, s.host+"/team/app:1.0"), nil), d)
			must.NoError(t, err)
			must.True(t, bytes.Equal(content, got))
		})
	}
}

func TestBlob_RefusesContentThatDoesNotMatchItsDescriptor(t *testing.T) {
	for name, answer := range map[string]func(w http.ResponseWriter, content []byte){
		"wrong length": func(w http.ResponseWriter, content []byte) {
			w.Header().Set("Content-Length", strconv.Itoa(len(content)-1))
			_, _ = w.Write(content[1:])
		},
		"shorter": func(w http.ResponseWriter, content []byte) {
			_ = http.NewResponseController(w).Flush() // chunked
			_, _ = w.Write(content[1:])
		},
		"longer": func(w http.ResponseWriter, content []byte) {
			_ = http.NewResponseController(w).Flush()
			_, _ = w.Write(content)
			_, _ = w.Write([]byte{0})
		},
		"endless": func(w http.ResponseWriter, content []byte) {
			var err error
			for err == nil {
				_, err = w.Write(content)
			}
		},
		"other content": func(w http.ResponseWriter, content []byte) {
			_, _ = w.Write(bytes.Repeat([]byte{1}, len(content)))
		},
		"empty": func(w http.ResponseWriter, _ []byte) {
			_ = http.NewResponseController(w).Flush()
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, true)
			_, d, content := layer(t, s)
			s.answerObjects(func(w http.ResponseWriter, _ *http.Request) bool {
				answer(w, content)
				return true
			})
			got, err := readBlob(t.Context(), open(t, client(t, Options{}, s), parse(t, s.host+"/team/app:1.0"), nil), d)
			must.ErrorIs(t, err, source.ErrInvalid)
			must.LessEq(t, len(content), len(got))
		})
	}
}

func TestBlob_GivesUpAfterBreaksWithoutProgress(t *testing.T) {
	s := serve(t, true)
	_, d, content := layer(t, s)
	s.answerObjects(func(w http.ResponseWriter, r *http.Request) bool {
		begin := rangeOf(r)
		if begin > 0 {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", begin, len(content)-1, len(content)))
			w.WriteHeader(http.StatusPartialContent)
		}
		cut(w, content[begin:], 1)
		return true
	})
	c := client(t, Options{}, s)
	_, err := readBlob(t.Context(), open(t, c, parse(t, s.host+"/team/app:1.0"), nil), d)
	must.ErrorIs(t, err, source.ErrUnavailable)
	must.Len(t, 1+c.limits.attempts, s.seen()) // the first request asks for the login
}

func TestBlob_RetriesAfterAStall(t *testing.T) {
	s := serve(t, true)
	_, d, content := layer(t, s)
	var count atomic.Int64
	s.answerObjects(func(w http.ResponseWriter, r *http.Request) bool {
		switch count.Add(1) {
		case 1: // no header
			<-r.Context().Done()
		case 2: // no more bytes
			_, _ = w.Write(content[:1000])
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		default:
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
		}
		return true
	})
	c := client(t, Options{}, s)
	c.limits.stall = time.Second
	got, err := readBlob(t.Context(), open(t, c, parse(t, s.host+"/team/app:1.0"), nil), d)
	must.NoError(t, err)
	must.True(t, bytes.Equal(content, got))
}

func TestGuardedBody_DoesNotCountTheReadersPausesAsStalls(t *testing.T) {
	ctx, g := watch(t.Context(), testenv.Patience)
	defer g.end()
	body := guardedBody{ReadCloser: io.NopCloser(strings.NewReader("content")), guard: g}
	_, err := body.Read(make([]byte, 1))
	must.NoError(t, err)
	must.False(t, g.timer.Stop(), must.Sprint("the timer runs although the reader pauses"))
	must.NoError(t, ctx.Err())
}

func TestBlob_EndsWithTheContext(t *testing.T) {
	for name, wait := range map[string]func(w http.ResponseWriter, r *http.Request){
		"before the header": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"in the body": func(w http.ResponseWriter, r *http.Request) {
			_, _ = w.Write(make([]byte, 1000))
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, false)
			_, d, _ := layer(t, s)
			ctx, cancel := context.WithCancelCause(t.Context())
			cause := errors.New("the task was stopped")
			s.answerObjects(func(w http.ResponseWriter, r *http.Request) bool {
				go cancel(cause)
				wait(w, r)
				return true
			})
			src := open(t, client(t, Options{}, s), parse(t, s.host+"/team/app:1.0"), nil)
			_, err := readBlob(ctx, src, d)
			must.ErrorIs(t, err, cause)
		})
	}
}

func TestBlob_EndsWithTheContextDuringABackOff(t *testing.T) {
	s := serve(t, true)
	_, d, _ := layer(t, s)
	s.answerObjects(func(w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(http.StatusBadGateway)
		return true
	})
	c := client(t, Options{}, s)
	ctx, cancel := context.WithCancel(t.Context())
	c.limits.wait = func(ctx context.Context, _ time.Duration) error {
		cancel()
		return pause(ctx, testenv.Patience)
	}
	_, err := readBlob(ctx, open(t, c, parse(t, s.host+"/team/app:1.0"), nil), d)
	must.ErrorIs(t, err, context.Canceled)
	must.ErrorIs(t, err, source.ErrUnavailable)
	must.ErrorContains(t, err, "502")
}

func TestBlob_RefusesInvalidDescriptors(t *testing.T) {
	s := serve(t, true)
	_, d, _ := layer(t, s)
	src := open(t, client(t, Options{}, s), parse(t, s.host+"/team/app:1.0"), nil)
	for _, change := range []func(*v1.Descriptor){
		func(d *v1.Descriptor) { d.Size = -1 },
		func(d *v1.Descriptor) { d.Digest.Algorithm = "md5" },
		func(d *v1.Descriptor) { d.Digest.Hex = "../../../x" },
		func(d *v1.Descriptor) { d.Digest = v1.Hash{} },
	} {
		bad := d
		change(&bad)
		_, err := src.Blob(t.Context(), bad)
		must.ErrorIs(t, err, source.ErrInvalid)
		_, err = src.Manifest(t.Context(), bad)
		must.ErrorIs(t, err, source.ErrInvalid)
	}
	must.SliceEmpty(t, s.seen())
}

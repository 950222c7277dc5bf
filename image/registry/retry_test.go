// SPDX-License-Identifier: MPL-2.0

package registry

import (
	"context"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/image/source"
)

// retriesIn returns a context and the lines about the failed attempts in it.
func retriesIn(ctx context.Context) (context.Context, *[]string) {
	lines := &[]string{}
	return WithRetryFunc(ctx, func(r Retry) { *lines = append(*lines, r.String()) }), lines
}

func TestRetry_ReportsEachFailedAttempt(t *testing.T) {
	s := serve(t, true)
	_, ref := published(t, s)
	var attempts atomic.Int32
	s.answerObjects(func(w http.ResponseWriter, _ *http.Request) bool {
		switch attempts.Add(1) {
		case 1:
			w.WriteHeader(http.StatusServiceUnavailable)
		case 2:
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(http.StatusTooManyRequests)
		default:
			return false
		}
		return true
	})
	ctx, lines := retriesIn(t.Context())
	_, err := open(t, client(t, Options{}, s), ref, nil).Resolve(ctx)
	must.NoError(t, err)
	must.Eq(t, []string{
		s.host + " answers 503 Service Unavailable; attempt 2 of 5",
		s.host + " answers 429 Too Many Requests; attempt 3 of 5 in 7s",
	}, *lines)
}

func TestRetry_ReportsARegistryThatDoesNotAnswer(t *testing.T) {
	s := serve(t, true)
	c, ref := client(t, Options{}, s), parse(t, s.host+"/team/app:1.0")
	s.Close()
	ctx, lines := retriesIn(t.Context())
	_, err := open(t, c, ref, nil).Resolve(ctx)
	must.ErrorIs(t, err, source.ErrUnavailable)
	must.Len(t, 4, *lines)
	must.Eq(t, s.host+" does not answer (connection refused); attempt 2 of 5", (*lines)[0])
	ctx, lines = retriesIn(t.Context())
	must.ErrorIs(t, c.Push(ctx, ref, nil, testImage(t), nil), source.ErrUnavailable)
	must.Len(t, 4, *lines)
}

// SPDX-License-Identifier: MPL-2.0

package registry

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/image/source"
)

func TestResolve_RetriesFailuresThatPass(t *testing.T) {
	for _, fault := range []func(w http.ResponseWriter){
		func(w http.ResponseWriter) { w.WriteHeader(http.StatusRequestTimeout) },
		func(w http.ResponseWriter) { w.WriteHeader(http.StatusTooManyRequests) },
		func(w http.ResponseWriter) { w.WriteHeader(http.StatusInternalServerError) },
		func(w http.ResponseWriter) { w.WriteHeader(http.StatusBadGateway) },
		func(w http.ResponseWriter) { w.WriteHeader(http.StatusServiceUnavailable) },
		func(w http.ResponseWriter) { w.WriteHeader(http.StatusGatewayTimeout) },
		hangUp,
	} {
		s := serve(t, true)
		image, ref := published(t, s)
		var count atomic.Int64
		s.answer(func(w http.ResponseWriter, _ *http.Request) bool {
			if count.Add(1) <= 2 {
				fault(w)
				return true
			}
			return false
		})
		pull(t, open(t, client(t, Options{}, s), ref, nil), image)
	}
}

func TestResolve_GivesUpAfterTheLastAttempt(t *testing.T) {
	s := serve(t, true)
	s.answer(func(w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	})
	c := client(t, Options{}, s)
	_, err := open(t, c, parse(t, s.host+"/x"), nil).Resolve(t.Context())
	must.ErrorIs(t, err, source.ErrUnavailable)
	must.ErrorContains(t, err, "503")
	must.ErrorContains(t, err, "5 attempts")
	must.Len(t, c.limits.attempts, s.seen())
}

func TestResolve_ReportsARegistryThatIsDown(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must.NoError(t, err)
	host := listener.Addr().String()
	must.NoError(t, listener.Close())
	c := client(t, Options{})
	waits := 0
	c.limits.wait = func(context.Context, time.Duration) error { waits++; return nil }
	_, err = open(t, c, parse(t, host+"/x"), nil).Resolve(t.Context())
	must.ErrorIs(t, err, source.ErrUnavailable)
	must.ErrorContains(t, err, "connection refused")
	must.ErrorContains(t, err, "check that the registry runs")
	must.Eq(t, 4, waits)
}

func TestResolve_DistinguishesMissingFromForbidden(t *testing.T) {
	for _, test := range []struct {
		status int
		body   string
		kind   error
		want   string
	}{
		{http.StatusUnauthorized, "", source.ErrUnauthorized, "set auth in the task"},
		{http.StatusForbidden, `{"errors": [{"code": "DENIED", "message": "no access"}]}`, source.ErrUnauthorized, "set auth in the task"},
		{http.StatusNotFound, `{"errors": [{"code": "MANIFEST_UNKNOWN", "message": "unknown tag"}]}`, source.ErrNotFound, "MANIFEST_UNKNOWN unknown tag"},
		{http.StatusNotFound, "<html>", source.ErrNotFound, "check the name and the tag"},
		{http.StatusTeapot, `{"errors": 5}`, source.ErrUnavailable, "418"},
	} {
		s := serve(t, true)
		s.answerObjects(func(w http.ResponseWriter, _ *http.Request) bool {
			if test.status == http.StatusUnauthorized {
				w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			}
			w.WriteHeader(test.status)
			_, _ = w.Write([]byte(test.body))
			return true
		})
		_, err := open(t, client(t, Options{}, s), parse(t, s.host+"/x"), nil).Resolve(t.Context())
		must.ErrorIs(t, err, test.kind)
		must.ErrorContains(t, err, test.want)
		must.ErrorContains(t, err, strconv.Itoa(test.status))
		must.LessEq(t, 3, len(s.seen()))
	}
}

// waits returns the pauses of a client whose registry answers with a status and a
// Retry-After header.
func waits(t *testing.T, status int, header string) (pauses []time.Duration, err error) {
	s := serve(t, true)
	s.answer(func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Retry-After", header)
		w.WriteHeader(status)
		return true
	})
	c := client(t, Options{}, s)
	c.limits.wait = func(_ context.Context, d time.Duration) error {
		pauses = append(pauses, d)
		return nil
	}
	_, err = open(t, c, parse(t, s.host+"/x"), nil).Resolve(t.Context())
	must.ErrorIs(t, err, source.ErrUnavailable)
	return pauses, err
}

func TestRetry_WaitsLongerAfterEachAttempt(t *testing.T) {
	pauses, _ := waits(t, http.StatusBadGateway, "")
	must.Len(t, 4, pauses)
	for i, d := range pauses {
		full := defaultLimits.backoff << i
		must.Between(t, full/2, d, full)
	}
}

func TestRetry_WaitsAsLongAsTheRegistryAsks(t *testing.T) {
	pauses, _ := waits(t, http.StatusTooManyRequests, "20")
	must.Eq(t, []time.Duration{20 * time.Second, 20 * time.Second, 20 * time.Second, 20 * time.Second}, pauses)

	pauses, _ = waits(t, http.StatusServiceUnavailable, time.Now().Add(25*time.Second).UTC().Format(http.TimeFormat))
	must.Len(t, 4, pauses)
	must.Between(t, 15*time.Second, pauses[0], 25*time.Second)

	for _, header := range []string{"3600", time.Now().Add(time.Hour).UTC().Format(http.TimeFormat)} {
		pauses, err := waits(t, http.StatusTooManyRequests, header)
		must.SliceEmpty(t, pauses)
		must.ErrorContains(t, err, "it asks to wait")
	}
	for _, header := range []string{"-5", "x", "99999999999999999999", "Thu, 01 Jan 1970 00:00:00 GMT"} {
		pauses, _ := waits(t, http.StatusTooManyRequests, header)
		must.Len(t, 4, pauses)
		must.LessEq(t, defaultLimits.backoff, pauses[0])
	}
}

func TestResolve_ReadsTheManifestIfHeadIsIncomplete(t *testing.T) {
	for name, head := range map[string]func(w http.ResponseWriter){
		"not allowed": func(w http.ResponseWriter) { w.WriteHeader(http.StatusMethodNotAllowed) },
		"not found":   func(w http.ResponseWriter) { w.WriteHeader(http.StatusNotFound) },
		"no digest": func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", string(types.OCIManifestSchema1))
			w.Header().Set("Content-Length", "5")
		},
		"other algorithm": func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", string(types.OCIManifestSchema1))
			w.Header().Set("Content-Length", "5")
			w.Header().Set("Docker-Content-Digest", "sha512:"+strings.Repeat("00", 64))
		},
		"other type": func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Length", "5")
			w.Header().Set("Docker-Content-Digest", "sha256:"+strings.Repeat("00", 32))
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, true)
			image, ref := published(t, s)
			content, err := image.RawManifest()
			must.NoError(t, err)
			s.answer(func(w http.ResponseWriter, r *http.Request) bool {
				switch {
				case !strings.Contains(r.URL.Path, "/manifests/"):
					return false
				case r.Method == http.MethodHead:
					head(w)
				default: // the type is in the content only
					w.Header().Set("Content-Type", "application/json; charset=utf-8")
					_, _ = w.Write(content)
				}
				return true
			})
			pull(t, open(t, client(t, Options{}, s), ref, nil), image)
			must.Eq(t, 2, strings.Count(strings.Join(s.seen(), "\n"), "/manifests/"), must.Sprint("Manifest uses what Resolve has read"))
		})
	}
}

func TestResolve_ComparesTheDigestOfTheReference(t *testing.T) {
	s := serve(t, true)
	image, _ := published(t, s)
	content, err := image.RawManifest()
	must.NoError(t, err)
	for _, head := range []bool{true, false} {
		s.answer(func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodHead && !head {
				w.WriteHeader(http.StatusMethodNotAllowed)
				return true
			}
			w.Header().Set("Content-Type", string(types.OCIManifestSchema1))
			w.Header().Set("Docker-Content-Digest", "sha256:"+strings.Repeat("01", 32))
			w.Header().Set("Content-Length", strconv.Itoa(len(content)))
			_, _ = w.Write(content)
			return true
		})
		ref := parse(t, s.host+"/team/app@sha256:"+strings.Repeat("00", 32))
		_, err := open(t, client(t, Options{}, s), ref, nil).Resolve(t.Context())
		must.ErrorIs(t, err, source.ErrInvalid)
	}
}

func TestManifest_RefusesContent(t *testing.T) {
	content := []byte(`{"schemaVersion": 2, "config": {}}`)
	for name, test := range map[string]struct {
		answer func(w http.ResponseWriter)
		want   error
	}{
		"other":   {func(w http.ResponseWriter) { _, _ = w.Write(make([]byte, len(content))) }, source.ErrInvalid},
		"shorter": {func(w http.ResponseWriter) { _, _ = w.Write(content[1:]) }, source.ErrInvalid},
		"longer":  {func(w http.ResponseWriter) { _, _ = fmt.Fprintf(w, "%s ", content) }, source.ErrInvalid},
		"endless": {func(w http.ResponseWriter) {
			var err error
			for err == nil {
				_, err = w.Write(make([]byte, 1<<20))
			}
		}, source.ErrInvalid},
		"cut": {func(w http.ResponseWriter) { cut(w, content, 5) }, source.ErrUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, true)
			s.answer(func(w http.ResponseWriter, _ *http.Request) bool {
				test.answer(w)
				return true
			})
			d := descriptorOf(t, content)
			_, err := open(t, client(t, Options{}, s), parse(t, s.host+"/x"), nil).Manifest(t.Context(), d)
			must.ErrorIs(t, err, test.want)
		})
	}
}

func TestResolve_BoundsManifests(t *testing.T) {
	s := serve(t, true)
	src := open(t, client(t, Options{}, s), parse(t, s.host+"/x"), nil)
	s.answer(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodHead {
			w.Header().Set("Content-Type", string(types.OCIManifestSchema1))
			w.Header().Set("Docker-Content-Digest", "sha256:"+strings.Repeat("00", 32))
			w.Header().Set("Content-Length", strconv.Itoa(source.MaxManifestSize+1))
		}
		return true
	})
	_, err := src.Resolve(t.Context())
	must.ErrorIs(t, err, source.ErrInvalid)

	s.answer(func(w http.ResponseWriter, r *http.Request) bool {
		var err error
		for r.Method == http.MethodGet && err == nil {
			_, err = w.Write(make([]byte, 1<<20))
		}
		return true
	})
	_, err = src.Resolve(t.Context())
	must.ErrorIs(t, err, source.ErrInvalid)

	d := v1.Descriptor{MediaType: types.OCIManifestSchema1, Size: source.MaxManifestSize + 1, Digest: descriptorOf(t, nil).Digest}
	s.answer(nil)
	_, err = src.Manifest(t.Context(), d)
	must.ErrorIs(t, err, source.ErrInvalid)
	must.SliceEmpty(t, s.seen())
}

func TestResolve_RefusesSchema1(t *testing.T) {
	for _, mediaType := range []types.MediaType{types.DockerManifestSchema1, types.DockerManifestSchema1Signed, "application/json"} {
		s := serve(t, true)
		s.answer(func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Content-Type", string(mediaType))
			_, _ = w.Write([]byte(`{"schemaVersion": 1, "fsLayers": []}`))
			return true
		})
		src := open(t, client(t, Options{}, s), parse(t, s.host+"/x"), nil)
		_, err := src.Resolve(t.Context())
		must.ErrorIs(t, err, source.ErrInvalid)
		must.ErrorContains(t, err, "schema 1")
		d := descriptorOf(t, []byte(`{"schemaVersion": 1, "fsLayers": []}`))
		_, err = src.Manifest(t.Context(), d)
		must.ErrorContains(t, err, "schema 1")
	}
}

func descriptorOf(t testing.TB, content []byte) v1.Descriptor {
	hash, size, err := v1.SHA256(bytes.NewReader(content))
	must.NoError(t, err)
	return v1.Descriptor{MediaType: types.OCIManifestSchema1, Digest: hash, Size: size}
}

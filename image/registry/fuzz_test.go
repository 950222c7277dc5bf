// SPDX-License-Identifier: MPL-2.0

package registry

import (
	"bytes"
	"fmt"
	"net/http"
	"strconv"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/shoenig/test/must"
)

// fault answers a request for content as three bytes say.
func fault(w http.ResponseWriter, r *http.Request, content []byte, how [3]byte) {
	begin := min(max(0, rangeOf(r)), len(content))
	if how[0]&1 != 0 {
		begin = 0 // ignores the range
	}
	sent := content[begin:]
	sent = sent[:min(len(sent), 1+int(how[1])*len(content)/256)]
	length := len(content) - begin
	switch how[0] >> 1 & 3 {
	case 1:
		length = len(sent)
	case 2:
		length += int(int8(how[2]))
	}
	if how[0]&8 == 0 {
		w.Header().Set("Content-Length", strconv.Itoa(max(0, length)))
	}
	if how[0]&16 != 0 && len(sent) > 0 {
		sent = bytes.Clone(sent)
		sent[0] ^= how[2]
	}
	status := http.StatusOK
	if begin > 0 || how[0]&32 != 0 {
		status = http.StatusPartialContent
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", begin+int(how[2]&how[1]&1), len(content)-1, len(content)))
	}
	if how[0]&64 != 0 {
		status = 200 + int(how[2])*2
	}
	w.WriteHeader(status)
	_, _ = w.Write(sent)
	if how[0]&128 != 0 {
		_ = http.NewResponseController(w).Flush()
		hangUp(w)
	}
}

// The script has three bytes for each answer. After its end, the server answers correctly.
func FuzzBlob_ReturnsTheContentOrAnError(f *testing.F) {
	f.Add([]byte{128, 100, 0, 128, 50, 0})
	f.Add([]byte{128, 100, 0, 1 | 128, 150, 0, 32, 255, 0})
	f.Add([]byte{8, 100, 0, 4, 255, 1, 16, 255, 1})
	f.Add([]byte{64, 255, 150, 64, 255, 3})
	s := serve(f, true)
	src := open(f, client(f, Options{}, s), parse(f, s.host+"/x"), nil)
	content := bytes.Repeat([]byte("0123456789abcdef"), 100)
	hash, size, err := v1.SHA256(bytes.NewReader(content))
	must.NoError(f, err)
	d := v1.Descriptor{Digest: hash, Size: size}
	f.Fuzz(func(t *testing.T, script []byte) {
		s.answer(func(w http.ResponseWriter, r *http.Request) bool {
			s.mu.Lock()
			how := [3]byte{8, 255, 0}
			if len(script) >= len(how) {
				how = [3]byte(script)
				script = script[len(how):]
			}
			s.mu.Unlock()
			fault(w, r, content, how)
			return true
		})
		got, err := readBlob(t.Context(), src, d)
		if err == nil {
			must.True(t, bytes.Equal(content, got))
		}
		must.LessEq(t, len(content), len(got))
		must.LessEq(t, 100, len(s.seen()))
	})
}

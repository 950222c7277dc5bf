// SPDX-License-Identifier: MPL-2.0

package registry

import (
	"bytes"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/shoenig/test/must"
)

// BenchmarkBlob reads a layer from a registry on the loopback address, and verifies it.
func BenchmarkBlob(b *testing.B) {
	for name, plain := range map[string]bool{"HTTP": true, "HTTPS": false} {
		b.Run(name, func(b *testing.B) {
			content := bytes.Repeat([]byte("0123456789abcdef"), 8<<20)
			s := serve(b, plain)
			s.answer(func(w http.ResponseWriter, r *http.Request) bool {
				http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
				return true
			})
			src := open(b, client(b, Options{}, s), parse(b, s.host+"/x"), nil)
			d := descriptorOf(b, content)
			b.SetBytes(d.Size)
			for b.Loop() {
				blob, err := src.Blob(b.Context(), d)
				must.NoError(b, err)
				n, err := io.Copy(io.Discard, blob)
				must.NoError(b, err)
				must.Eq(b, d.Size, n)
				must.NoError(b, blob.Close())
			}
		})
	}
}

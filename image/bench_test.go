// SPDX-License-Identifier: MPL-2.0

package image_test

import (
	"testing"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/image"
)

func BenchmarkGet_Cached(b *testing.B) {
	s := newServer(b)
	ref := s.push(b, "web:1", webImage(b, "one"))
	store := openStore(b, b.TempDir(), s)
	must.NoError(b, get(b, store, image.Request{Reference: ref}).Close())
	for b.Loop() {
		e, err := store.Get(b.Context(), image.Request{Reference: ref})
		if err != nil || !e.Cached || e.Close() != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkGet_CachedLayout(b *testing.B) {
	dir := writeLayout(b, webImage(b, "one"))
	store := openStore(b, b.TempDir(), nil)
	for b.Loop() {
		e, err := getLocal(b, store, "oci:"+dir, "")
		if err != nil || e.Close() != nil {
			b.Fatal(err)
		}
	}
}

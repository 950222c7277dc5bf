// SPDX-License-Identifier: MPL-2.0

package image_test

import (
	"strings"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/image"
)

func TestRemove_NeedsSixDigitsOfADigest(t *testing.T) {
	s := newServer(t)
	store := openStore(t, t.TempDir(), s)
	e := get(t, store, image.Request{Reference: s.push(t, "web:1", webImage(t, "one"))})
	must.NoError(t, e.Close())
	digits := strings.TrimPrefix(e.Digest, "sha256:")
	for _, name := range []string{"", "sha256:", "sha256", digits[:5], "sha256:" + digits[:5]} {
		_, err := store.Remove(t.Context(), name)
		must.ErrorIs(t, err, image.ErrNoImage, must.Sprint(name))
	}
	for _, name := range []string{digits[:6], "sha256:" + digits[:6], e.Digest} {
		found, err := store.Inspect(name)
		must.NoError(t, err)
		must.Eq(t, e.Digest, found.Digest)
	}
}

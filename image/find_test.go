// SPDX-License-Identifier: MPL-2.0

package image_test

import (
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
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

// indexOf returns an index with one image for linux/amd64.
func indexOf(img v1.Image) v1.ImageIndex {
	return mutate.AppendManifests(empty.Index, mutate.IndexAddendum{
		Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}},
	})
}

func TestInspect_FindsAnImageByTheDigestOfItsIndex(t *testing.T) {
	s := newServer(t)
	store := openStore(t, t.TempDir(), s)
	index := indexOf(webImage(t, "one"))
	ref := s.push(t, "web:1", index)
	e := get(t, store, image.Request{Reference: ref})
	must.NoError(t, e.Close())
	digest := digestOf(t, index)
	must.NotEq(t, e.Digest, digest)
	for _, name := range []string{
		digest, strings.TrimPrefix(digest, "sha256:"), digest[:len("sha256:")+12],
		s.host() + "/web@" + digest, s.host() + "/web@" + e.Digest, "mirror.example.com/web@" + digest,
	} {
		found, err := store.Inspect(name)
		must.NoError(t, err, must.Sprint(name))
		must.Eq(t, e.Digest, found.Digest)
		must.Eq(t, []string{digest}, found.IndexDigests)
		must.Eq(t, []string{ref.String()}, found.References)
	}
	_, err := store.Inspect(s.host() + "/web@sha256:" + strings.Repeat("0", 64))
	must.ErrorIs(t, err, image.ErrNoImage)
	removal, err := store.Remove(t.Context(), s.host()+"/web@"+digest)
	must.NoError(t, err)
	must.Eq(t, e.Digest, removal.Digest)
}

func TestList_NamesTheLastUseOfAnImageFromAFile(t *testing.T) {
	store := openStore(t, t.TempDir(), nil)
	img := webImage(t, "one")
	for range 2 { // the second is a new file with the same image
		name := "oci:" + writeLayout(t, img)
		e, err := getLocal(t, store, name, "")
		must.NoError(t, err)
		must.NoError(t, e.Close())
		images, err := store.List()
		must.NoError(t, err)
		must.Len(t, 1, images)
		must.SliceEmpty(t, images[0].References)
		must.Eq(t, name, images[0].LastName)
		found, err := store.Inspect(name)
		must.NoError(t, err)
		must.Eq(t, e.Digest, found.Digest)
	}
}

func TestList_KeepsTheNameOfAnImageWhoseTagHasMoved(t *testing.T) {
	s := newServer(t)
	store := openStore(t, t.TempDir(), s)
	for _, word := range []string{"one", "two"} {
		ref := s.push(t, "web:1", webImage(t, word))
		must.NoError(t, get(t, store, image.Request{Reference: ref, Policy: image.PolicyAlways}).Close())
	}
	images, err := store.List()
	must.NoError(t, err)
	must.Len(t, 2, images)
	must.Eq(t, []string{s.host() + "/web:1"}, images[0].References)
	must.SliceEmpty(t, images[1].References)
	must.Eq(t, s.host()+"/web:1", images[1].LastName)
	found, err := store.Inspect(s.host() + "/web:1") // the tag, not the last name
	must.NoError(t, err)
	must.Eq(t, images[0].Digest, found.Digest)
}

func TestRemove_NamesAMissingImageOnce(t *testing.T) {
	_, err := openStore(t, t.TempDir(), nil).Remove(t.Context(), "web:1")
	must.EqError(t, err, "no such image: web:1")
}

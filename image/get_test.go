// SPDX-License-Identifier: MPL-2.0

package image_test

import (
	"maps"
	"os"
	"slices"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/image"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv/ext4"
)

func sortedKeys(m files) []string { return slices.Sorted(maps.Keys(m)) }

func TestGet_BringsInKernelAndRoot(t *testing.T) {
	s := newServer(t)
	img := webImage(t, "one")
	ref := s.push(t, "team/web:1", img)
	store := openStore(t, t.TempDir(), s)

	e := get(t, store, image.Request{Reference: ref})
	must.False(t, e.Cached)
	must.Eq(t, digestOf(t, img), e.Digest)
	must.Eq(t, "/web.spt", e.KernelPath)
	must.Eq(t, []string{"A=1"}, e.Config.Env)
	kernel, err := os.ReadFile(e.KernelFile)
	must.NoError(t, err)
	must.Eq(t, lklKernel("one"), string(kernel))
	account, err := e.Accounts.LookupUser("www")
	must.NoError(t, err)
	must.Eq(t, 34, account.GID)

	must.NoError(t, ext4.Check(e.RootFile))
	data, err := ext4.ReadFile(e.RootFile, "/data")
	must.NoError(t, err)
	must.Eq(t, 15000, len(data))
	_, err = ext4.ReadFile(e.RootFile, "/web.spt")
	must.ErrorIs(t, err, os.ErrNotExist)

	must.Positive(t, s.counted(""))
	e = get(t, store, image.Request{Reference: ref})
	must.True(t, e.Cached)
	must.Zero(t, s.counted(""))
}

// SPDX-License-Identifier: MPL-2.0

package image

import (
	"fmt"
	"os"
	"testing"

	"github.com/shoenig/test/must"
)

// storeWithFiles returns a store with the files of an entry, and their record.
func storeWithFiles(t *testing.T, key string) (*Store, map[string]fileInfo) {
	t.Helper()
	s, err := Open(Config{Dir: t.TempDir()})
	must.NoError(t, err)
	must.NoError(t, os.Mkdir(s.path(entriesDir, key), privateDir))
	want := map[string]fileInfo{}
	for _, name := range []string{kernelName, rootName} {
		path := s.path(entriesDir, key, name)
		must.NoError(t, os.WriteFile(path, []byte("content of "+name), readOnly))
		sum, err := fileDigest(t.Context(), path)
		must.NoError(t, err)
		want[name] = fileInfo{Size: int64(len("content of " + name)), Digest: sum}
	}
	return s, want
}

func TestVerify_AcceptsFilesWhileMemoryIsFull(t *testing.T) {
	for known := maxVerified - 3; known <= maxVerified; known++ {
		t.Run(fmt.Sprint(known), func(t *testing.T) {
			s, want := storeWithFiles(t, "key")
			for i := range known {
				s.verified.put(fileVersion{Ino: uint64(i)}, "sum")
			}
			must.NoError(t, s.verify(t.Context(), "key", want))
		})
	}
}

func TestVerify_NeedsNoRecord(t *testing.T) {
	s, want := storeWithFiles(t, "key")
	// The record cannot be written while a directory has the name of its temporary file, as
	// on a full disk, or while another process writes it.
	must.NoError(t, os.Mkdir(s.path(entriesDir, "key", verifiedRecord+".new"), privateDir))
	must.NoError(t, s.verify(t.Context(), "key", want))
}

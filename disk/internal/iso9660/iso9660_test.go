// SPDX-License-Identifier: MPL-2.0

package iso9660_test

import (
	"strings"
	"testing"
	"time"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/disk/internal/iso9660"
)

// The limits of archives count the bytes of targets. An archive of a hostile job must not need
// many times as much memory.
func TestLayout_TakesFewBytesForTargetsOfManyParts(t *testing.T) {
	const links = 64
	target := strings.Repeat("a/", 2000)
	root := &iso9660.Entry{Dir: true, Mode: unix.S_IFDIR | 0o755}
	for range links {
		root.Children = append(root.Children, &iso9660.Entry{Name: "link", Mode: unix.S_IFLNK | 0o777, Target: target})
	}
	image, err := iso9660.Layout(root, time.Unix(0, 0))
	must.NoError(t, err)
	must.Less(t, 3*links*len(target), len(image.Header))
}

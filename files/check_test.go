// SPDX-License-Identifier: MPL-2.0

package files

import (
	"testing"

	"github.com/shoenig/test/must"
)

func TestPlan_CheckReportsEveryMistake(t *testing.T) {
	good := Plan{Version: Version, UID: 1000, GID: 100, Shares: []Share{{FD: 0}, {FD: 1, Hidden: make([]Inode, MaxHidden)}}}
	must.NoError(t, good.Check(2))
	bad := Plan{Version: Version + 1, UID: ^uint32(0), Shares: []Share{{FD: 2}, {
		FD: -1, Hidden: make([]Inode, MaxHidden+1), ReadOnlyDirs: append(make([]string, MaxReadOnlyDirs), "logs", "..", "a/b"),
	}}}
	err := bad.Check(2)
	must.ErrorIs(t, err, ErrPlan)
	for _, mistake := range []string{
		"version 2", "UID 4294967295", "share 0 is the inherited file with index 2, but there are 2 inherited files",
		"share 1 is the inherited file with index -1", "share 1 hides 65 files",
		"share 1 has 19 read-only directories", `share 1: "" is not`, `share 1: ".." is not`, `share 1: "a/b" is not`,
	} {
		must.ErrorContains(t, err, mistake)
	}
	must.ErrorContains(t, (&Plan{Version: Version}).Check(0), "0 shares")
	must.ErrorContains(t, (&Plan{Version: Version, Shares: make([]Share, MaxShares+1)}).Check(1), "129 shares")
}

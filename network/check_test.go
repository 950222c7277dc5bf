// SPDX-License-Identifier: MPL-2.0

package network

import (
	"net"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

func TestCheckHost_LeavesTheHostAlone(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.Tun)
	before, err := net.Interfaces()
	must.NoError(t, err)
	for _, o := range []Options{{}, {Offload: true}, {AllowSpoofing: true}, {Offload: true, AllowSpoofing: true}} {
		must.NoError(t, CheckHost(o))
		must.NoError(t, CheckSharing(o))
		must.NoError(t, CheckTranslation(o))
	}
	after, err := net.Interfaces()
	must.NoError(t, err)
	must.Eq(t, len(before), len(after))
}

// SPDX-License-Identifier: MPL-2.0

package programs

import (
	"errors"
	"net"
	"net/netip"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

func testGuest() *Guest {
	return &Guest{
		Tap: 1, MAC: net.HardwareAddr{2, 0, 0, 0, 0, 1},
		Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")},
		First:     1, Last: 2,
	}
}

func TestLoad_KernelAcceptsPrograms(t *testing.T) {
	testenv.Need(t, testenv.Root)
	many := testGuest()
	for len(many.Addresses) < MaxAddresses {
		many.Addresses = append(many.Addresses, many.Addresses[len(many.Addresses)-1].Next())
	}
	many.Rest, many.LoopbackTarget = true, true
	for _, guest := range []*Guest{testGuest(), many} {
		p, err := Load(guest)
		if verifier := new(ebpf.VerifierError); errors.As(err, &verifier) {
			t.Logf("%+v", verifier)
		}
		must.NoError(t, err)
		must.NoError(t, p.Close())
	}
	many.Addresses = append(many.Addresses, many.Addresses[0])
	_, err := Load(many)
	must.Error(t, err)
}

// SPDX-License-Identifier: MPL-2.0

package network

import (
	"fmt"
	"sync"

	"github.com/cilium/ebpf"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/btf"
	"github.com/lkl-nomad/nomad-driver-lkl/network/programs"
)

// loadChecksumCheck loads a program over the frames of a guest with offloads.
//
// Such a guest leaves checksums to the kernel, and names the place of each in the virtio
// header. The kernel may store the checksum only when the frame leaves for a device
// without offloads, which is after the filter. With a place and a sum of its choice, a
// guest could thus replace half of the sender's address that the filter has compared.
// Classic BPF cannot read the place. The program drops frames with a checksum at another
// place than that of TCP or UDP.
func loadChecksumCheck() (*ebpf.Program, error) {
	fields, err := hostChecksumFields()
	if err != nil {
		return nil, err
	}
	return programs.LoadChecksumCheck(fields)
}

// hostChecksumFields reads the types of the running kernel once.
var hostChecksumFields = sync.OnceValues(func() (f programs.ChecksumFields, err error) {
	types, err := btf.Read(btf.Kernel)
	if err != nil {
		return f, err
	}
	for name, to := range map[string]*uint32{
		"ip_summed": &f.State, "csum_start": &f.Start, "csum_offset": &f.Place, "mac_header": &f.Header,
	} {
		if *to, err = types.BitOffset("sk_buff", name); err != nil {
			return f, fmt.Errorf("%s: %w", btf.Kernel, err)
		}
	}
	if f.State%8 == 7 {
		return f, fmt.Errorf("%s: the layout of struct sk_buff is not supported: %+v", btf.Kernel, f)
	}
	return f, nil
})

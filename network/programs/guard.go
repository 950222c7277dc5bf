// SPDX-License-Identifier: MPL-2.0

package programs

import (
	"bytes"
	_ "embed" // for guardObject
	"sync"
	"time"

	"github.com/cilium/ebpf"
)

//go:embed run-make-build/guard.o
var guardObject []byte

var parseGuard = sync.OnceValues(func() (*ebpf.CollectionSpec, error) {
	return ebpf.LoadCollectionSpecFromReader(bytes.NewReader(guardObject))
})

// ChecksumFields are the offsets in bits of the fields of the kernel's struct sk_buff that
// describe a checksum.
type ChecksumFields struct {
	State  uint32 // ip_summed, 2 bits in a byte
	Start  uint32 // csum_start: begin of the sum, from the buffer's head on
	Place  uint32 // csum_offset: of the checksum, from start on
	Header uint32 // mac_header: begin of the frame, from the buffer's head on
}

// LoadChecksumCheck loads a program that drops frames whose checksum the kernel is to
// compute at another place than that of TCP or UDP. The caller closes it.
func LoadChecksumCheck(f ChecksumFields) (*ebpf.Program, error) {
	return loadGuard("check_checksum", map[string]any{"checksum_fields": f})
}

// LoadLimiter loads a program that drops frames beyond a rate, in bits per second. Frames
// that would take longer than the burst pass. The caller closes the program.
func LoadLimiter(rate uint64, burst time.Duration) (*ebpf.Program, error) {
	const costShift = 20
	return loadGuard("limit_rate", map[string]any{
		"byte_cost": 8 * uint64(time.Second) << costShift / rate, "longest_wait": uint64(burst),
	})
}

func loadGuard(name string, constants map[string]any) (*ebpf.Program, error) {
	parsed, err := parseGuard()
	if err != nil {
		return nil, err
	}
	return load(parsed, name, constants)
}

// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/problems"
	"github.com/lkl-nomad/nomad-driver-lkl/network"
)

// BandwidthConfig is the bandwidth block of a task. An empty value means no limit.
type BandwidthConfig struct {
	Ingress string `codec:"ingress"`
	Egress  string `codec:"egress"`
}

// bandwidth returns the limits of a valid configuration.
func (t *TaskConfig) bandwidth() (b network.Bandwidth) {
	if t.Bandwidth != nil {
		b.Ingress, _ = parseBandwidth(t.Bandwidth.Ingress)
		b.Egress, _ = parseBandwidth(t.Bandwidth.Egress)
	}
	return b
}

func (t *TaskConfig) validateBandwidth(list *problems.List) {
	if t.Bandwidth == nil {
		return
	}
	if t.Bandwidth.Ingress == "" && t.Bandwidth.Egress == "" {
		list.Addf("bandwidth", "is empty: set ingress or egress, or remove it")
	}
	if _, err := parseBandwidth(t.Bandwidth.Ingress); err != nil {
		list.Addf("bandwidth.ingress", "%w", err)
	}
	if _, err := parseBandwidth(t.Bandwidth.Egress); err != nil {
		list.Addf("bandwidth.egress", "%w", err)
	}
}

// bandwidthUnits are those of tc(8) for bits per second, longest first.
var bandwidthUnits = []struct {
	name string
	bits float64
}{{"gbit", 1e9}, {"mbit", 1e6}, {"kbit", 1e3}, {"bit", 1}}

// parseBandwidth parses a rate and returns it in bits per second. "" is 0.
func parseBandwidth(s string) (uint64, error) {
	if s == "" {
		return 0, nil
	}
	for _, unit := range bandwidthUnits {
		number, ok := strings.CutSuffix(strings.ToLower(s), unit.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(number, 10, 64)
		if err != nil {
			break
		}
		rate := float64(n) * unit.bits
		if rate < network.MinBandwidth || rate > network.MaxBandwidth {
			return 0, fmt.Errorf("%q is not between %q and %q", s, "64kbit", "32gbit")
		}
		return uint64(rate), nil
	}
	return 0, fmt.Errorf("%q must be a whole number of bits per second with a unit (bit, kbit, mbit or gbit)%s",
		s, bandwidthRemedy(s))
}

// bandwidthRemedy explains common mistakes. Units such as Mbps are in bits for some programs, and
// in bytes for tc(8).
func bandwidthRemedy(s string) string {
	lower := strings.ToLower(s)
	if compact := strings.ReplaceAll(lower, " ", ""); compact != lower {
		if _, err := parseBandwidth(compact); err == nil {
			return fmt.Sprintf(" and without a blank: write %q", compact)
		}
	}
	for _, prefix := range []string{"kilo", "mega", "giga"} {
		letter := prefix[:1]
		number, ok := strings.CutSuffix(lower, letter+"bps")
		if n, err := strconv.ParseUint(number, 10, 32); ok && err == nil {
			return fmt.Sprintf(": write \"%d%sbit\" for %sbits, \"%d%sbit\" for %sbytes per second", n, letter, prefix, 8*n, letter, prefix)
		}
	}
	return fmt.Sprintf(", such as %q", "100mbit")
}

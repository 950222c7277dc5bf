// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"testing"

	"github.com/shoenig/test/must"
	"github.com/vishvananda/netlink"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/problems"
	"github.com/lkl-nomad/nomad-driver-lkl/network"
)

func TestParseBandwidth(t *testing.T) {
	for text, want := range map[string]uint64{
		"": 0, "64000bit": 64e3, "64kbit": 64e3, "100mbit": 100e6, "100Mbit": 100e6, "1gbit": 1e9, "32gbit": 32e9,
	} {
		got, err := parseBandwidth(text)
		must.NoError(t, err, must.Sprint(text))
		must.Eq(t, want, got, must.Sprint(text))
	}
	for _, text := range []string{
		"100", "10mbps", "10MB", "mbit", "-1mbit", "+1mbit", "1.5gbit", "1 gbit", "1e3kbit", "63kbit", "33gbit", "0bit", "99999999999999999999bit",
		"18446744073709551615gbit", "1tbit", "1mibit",
	} {
		_, err := parseBandwidth(text)
		must.Error(t, err, must.Sprint(text))
	}
}

func TestParseBandwidth_ExplainsMistakes(t *testing.T) {
	for text, says := range map[string]string{
		"100Mbps": `write "100mbit" for megabits, "800mbit" for megabytes per second`,
		"10kbps":  `write "10kbit" for kilobits, "80kbit" for kilobytes per second`,
		"1 gbit":  `without a blank: write "1gbit"`,
		"100":     `(bit, kbit, mbit or gbit), such as "100mbit"`,
		"xMbps":   `(bit, kbit, mbit or gbit), such as "100mbit"`,
	} {
		_, err := parseBandwidth(text)
		must.ErrorContains(t, err, says)
	}
}

func TestBandwidth_Validate(t *testing.T) {
	check := func(b *BandwidthConfig) error {
		var list problems.List
		(&TaskConfig{Bandwidth: b}).validateBandwidth(&list)
		return list.Err()
	}
	must.NoError(t, check(nil))
	must.NoError(t, check(&BandwidthConfig{Egress: "1gbit"}))
	must.ErrorContains(t, check(&BandwidthConfig{}), "bandwidth")
	must.ErrorContains(t, check(&BandwidthConfig{Ingress: "1gbit", Egress: "10mbps"}), "bandwidth.egress")
	c := TaskConfig{Bandwidth: &BandwidthConfig{Ingress: "100mbit"}}
	must.Eq(t, network.Bandwidth{Ingress: 100e6}, c.bandwidth())
}

func TestBridge_GuestHasLimitedBandwidth(t *testing.T) {
	p := newTestPlugin(t)
	n := newTestNetwork(t)
	task := p.bridged(t, n, TaskConfig{
		Kernel: "httpd.spt", Args: []string{"ip={{ipv4}}", "port=8080"},
		Bandwidth: &BandwidthConfig{Ingress: "100mbit", Egress: "1gbit"},
	})
	handle, _, err := p.StartTask(task)
	must.NoError(t, err)
	waitFor(t, "an answer", func() bool { _, err := n.get(t, "/"); return err == nil })
	within(t, n.alloc, func(h *netlink.Handle) {
		tap, err := h.LinkByName(stateOf(t, handle).Tap)
		must.NoError(t, err)
		qdiscs, err := h.QdiscList(tap)
		must.NoError(t, err)
		var shaped uint64
		for _, q := range qdiscs {
			if shaper, ok := q.(*netlink.Tbf); ok {
				shaped = 8 * shaper.Rate
			}
		}
		must.Eq(t, 100e6, shaped)
		filters, err := h.FilterList(tap, netlink.MakeHandle(0xffff, 0))
		must.NoError(t, err)
		policed := false
		for _, f := range filters {
			if b, ok := f.(*netlink.BpfFilter); ok && b.Name == "limit to 1000000000 bit/s" {
				policed = true
			}
		}
		must.True(t, policed)
	})
}

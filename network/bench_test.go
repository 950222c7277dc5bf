// SPDX-License-Identifier: MPL-2.0

package network

import (
	"encoding/binary"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"
)

// segmented puts a virtio header before a large TCP packet over IPv4, as a guest with
// offloads sends it.
func segmented(frame []byte) []byte {
	const ipHeader, tcpHeader, segment = 20, 20, 1440
	frame = withChecksum(frame, etherPayload+ipHeader, 16)
	frame[1] = unix.VIRTIO_NET_HDR_GSO_TCPV4
	binary.LittleEndian.PutUint16(frame[2:], etherPayload+ipHeader+tcpHeader)
	binary.LittleEndian.PutUint16(frame[4:], segment)
	return frame
}

// tcpSegment is a TCP header without options, and data.
func tcpSegment(data int) []byte {
	segment := make([]byte, 20+data)
	segment[12] = 5 << 4 // the header's length in words
	return segment
}

// BenchmarkFilter compares the processor time to send frames from two taps in turn: one
// with the filter and one without it. It reports the median times of a frame and their
// ratio. The peer drops the frames before its stack.
func BenchmarkFilter(b *testing.B) {
	ether := func(from []byte, protocol uint16, packet []byte) []byte {
		return etherFrame(from, foreignMAC, protocol, packet)
	}
	for _, c := range []struct {
		name    string
		offload bool
		frame   func(own []byte) []byte
	}{
		{"IPv4, 54 bytes", false, func(own []byte) []byte {
			return ether(own, unix.ETH_P_IP, ip4Packet(guest4, peer4, unix.IPPROTO_TCP, 0, tcpSegment(0)))
		}},
		{"IPv4, 1514 bytes", false, func(own []byte) []byte {
			return ether(own, unix.ETH_P_IP, ip4Packet(guest4, peer4, unix.IPPROTO_TCP, 0, tcpSegment(1460)))
		}},
		{"IPv6, 74 bytes", false, func(own []byte) []byte {
			return ether(own, unix.ETH_P_IPV6, ip6Packet(guest6, peer6, unix.IPPROTO_TCP, tcpSegment(0)))
		}},
		{"offloads, 54 bytes", true, func(own []byte) []byte {
			frame := ether(own, unix.ETH_P_IP, ip4Packet(guest4, peer4, unix.IPPROTO_TCP, 0, tcpSegment(0)))
			return withChecksum(frame, etherPayload+20, 16)
		}},
		{"offloads, 64 KB", true, func(own []byte) []byte {
			return segmented(ether(own, unix.ETH_P_IP, ip4Packet(guest4, peer4, unix.IPPROTO_TCP, 0, tcpSegment(64000))))
		}},
	} {
		b.Run(c.name, func(b *testing.B) { compareFilter(b, c.offload, c.frame) })
	}
}

func compareFilter(b *testing.B, offload bool, build func(own []byte) []byte) {
	const batch = 200
	var taps [2]*Tap
	var frames [2][]byte
	for i, allow := range []bool{false, true} {
		a := newAlloc(b, 1500)
		taps[i] = a.attachWith(Options{Offload: offload, AllowSpoofing: allow})
		frames[i] = build(a.mac)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var times [2][]time.Duration
	for b.Loop() {
		for i, tap := range taps {
			start := threadTime(b)
			for range batch {
				_, err := tap.File.Write(frames[i])
				must.NoError(b, err)
			}
			times[i] = append(times[i], (threadTime(b)-start)/batch)
		}
	}
	slices.Sort(times[0])
	slices.Sort(times[1])
	filtered, unfiltered := times[0][len(times[0])/2], times[1][len(times[1])/2]
	b.ReportMetric(float64(filtered.Nanoseconds()), "ns/filtered")
	b.ReportMetric(float64(unfiltered.Nanoseconds()), "ns/unfiltered")
	b.ReportMetric(float64(filtered)/float64(unfiltered), "ratio")
	b.ReportMetric(0, "ns/op")
}

// threadTime returns the processor time of the thread, which does not depend on other
// load.
func threadTime(b *testing.B) time.Duration {
	b.Helper()
	var t unix.Timespec
	must.NoError(b, unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t))
	return time.Duration(t.Nano())
}

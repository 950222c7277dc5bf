// SPDX-License-Identifier: MPL-2.0

package spt

import (
	"encoding/binary"

	"github.com/lkl-nomad/nomad-driver-lkl/tender"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
)

// Sizes and offsets, in bytes, of Solo5's spt_abi.h and mft_abi.h.
const (
	bootInfoSize      = 40
	manifestHeadSize  = 8
	manifestEntrySize = 104
	manifestVersion   = 1
	typeReservedFirst = 1 << 30

	entryType     = 68
	entryUnion    = 72 // capacity, block size; or MAC, MTU
	entryHostFD   = 88
	entryAttached = 96
)

// bootInfo is what lies at bootBase: struct spt_boot_info, the manifest with
// the devices filled in, the command line. Devices are in the manifest's order.
func bootInfo(g *tender.Guest, devices []tender.Device) []byte {
	entries := len(devices) + 1
	manifest := bootBase + bootInfoSize
	commandLine := manifest + manifestHeadSize + entries*manifestEntrySize

	le := binary.LittleEndian
	b := make([]byte, 0, commandLine-bootBase+len(g.CommandLine)+1)
	b = le.AppendUint64(b, g.Memory)
	b = le.AppendUint64(b, g.Image.End)
	b = le.AppendUint64(b, uint64(commandLine))
	b = le.AppendUint64(b, uint64(manifest))
	b = le.AppendUint32(b, fdEpoll)
	b = le.AppendUint32(b, fdTimer)

	b = le.AppendUint32(b, manifestVersion)
	b = le.AppendUint32(b, uint32(entries))
	first := make([]byte, manifestEntrySize)
	le.PutUint32(first[entryType:], typeReservedFirst)
	b = append(b, first...)
	for i := range devices {
		b = append(b, manifestEntry(&devices[i], fdDevice+i)...)
	}
	b = append(b, g.CommandLine...)
	return append(b, 0)
}

func manifestEntry(d *tender.Device, fd int) []byte {
	le := binary.LittleEndian
	e := make([]byte, manifestEntrySize)
	copy(e[:entryType], d.Name)
	le.PutUint32(e[entryType:], uint32(d.Type))
	if d.Type == unikernel.Net {
		copy(e[entryUnion:], d.MAC[:])
		le.PutUint16(e[entryUnion+6:], d.MTU)
	} else {
		le.PutUint64(e[entryUnion:], d.Capacity)
		le.PutUint16(e[entryUnion+8:], d.BlockSize)
	}
	le.PutUint32(e[entryHostFD:], uint32(fd))
	e[entryAttached] = 1
	return e
}

// SPDX-License-Identifier: MPL-2.0

package spt

import (
	"encoding/binary"

	"github.com/lkl-nomad/nomad-driver-lkl/tender"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel/solo5elf"
)

// bootInfoHeader is struct spt_boot_info of Solo5's spt_abi.h. The manifest
// follows it.
type bootInfoHeader struct {
	MemSize     uint64
	KernelEnd   uint64
	CommandLine uint64 // address
	Manifest    uint64 // address
	EpollFD     uint32
	TimerFD     uint32
}

const bootInfoHeaderSize = 40

// bootInfo returns the bytes at bootBase: the header, the manifest with the
// properties of the devices, and the command line. The devices must be in the
// manifest's order.
func bootInfo(g *tender.Guest, devices []tender.Device) ([]byte, error) {
	const manifestAddress = bootBase + bootInfoHeaderSize
	entries := []solo5elf.Entry{solo5elf.NewEntry("", solo5elf.TypeReserved)}
	for i := range devices {
		entries = append(entries, manifestEntry(&devices[i], fdDevice+i))
	}
	commandLineAddress := manifestAddress + solo5elf.ManifestHeaderSize + len(entries)*solo5elf.EntrySize
	b := make([]byte, 0, commandLineAddress-bootBase+len(g.CommandLine)+1)
	header := bootInfoHeader{
		MemSize: g.HeapEnd(), KernelEnd: g.Info.End,
		CommandLine: uint64(commandLineAddress), Manifest: manifestAddress,
		EpollFD: fdEpoll, TimerFD: fdTimer,
	}
	if g.CommandLineFile != nil {
		header.CommandLine = g.HeapEnd()
	}
	for _, v := range []any{
		header,
		solo5elf.ManifestHeader{Version: solo5elf.ManifestVersion, Entries: uint32(len(entries))},
		entries,
	} {
		var err error
		if b, err = binary.Append(b, binary.LittleEndian, v); err != nil {
			return nil, err
		}
	}
	b = append(b, g.CommandLine...)
	return append(b, 0), nil
}

func manifestEntry(d *tender.Device, fd int) solo5elf.Entry {
	e := solo5elf.NewEntry(d.Name, uint32(d.Type))
	if d.Type == unikernel.Net {
		e.SetNet(d.MAC, d.MTU)
	} else {
		e.SetBlock(d.Capacity, d.BlockSize)
	}
	e.HostFD, e.Attached = uint32(fd), 1
	return e
}

// SPDX-License-Identifier: MPL-2.0

package tender_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/tender"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
)

const mib = 1 << 20

// validGuest has a network and a disk of 64 KiB.
func validGuest(t *testing.T) *tender.Guest {
	t.Helper()
	open := func(name string, flags int) *os.File {
		f, err := os.OpenFile(filepath.Join(t.TempDir(), name), os.O_RDWR|os.O_CREATE|flags, 0o600)
		must.NoError(t, err)
		t.Cleanup(func() { must.NoError(t, f.Close()) })
		return f
	}
	image := open("disk", 0)
	must.NoError(t, image.Truncate(64<<10))
	return &tender.Guest{
		Kernel:  open("kernel", 0),
		Console: open("console", os.O_APPEND),
		Info: &unikernel.Info{
			Entry: mib, End: mib + 0x1000,
			Segments: []unikernel.Segment{{
				Addr: mib, FileSize: 16, MemSize: 16, Start: mib, End: mib + 0x1000, Read: true, Exec: true,
			}},
			Manifest: []unikernel.Device{{Name: "tap", Type: unikernel.Net}, {Name: "rootfs", Type: unikernel.Block}},
		},
		Memory: 2 * mib,
		Devices: []tender.Device{
			{Name: "rootfs", Type: unikernel.Block, File: image, Capacity: 64 << 10, BlockSize: 512},
			{Name: "tap", Type: unikernel.Net, File: open("tap", 0), MAC: [6]byte{2, 1}, MTU: 1500},
		},
	}
}

func TestCheck_AcceptsAValidGuest(t *testing.T) {
	must.NoError(t, validGuest(t).Check())
}

// acceptAll removes the manifest of a guest that needs none.
func acceptAll(g *tender.Guest) { g.Info.Features, g.Info.Manifest = unikernel.FeatureDevices, nil }

// addDisks attaches disks with the image of the first one.
func addDisks(g *tender.Guest, n int) {
	for i := range n {
		d := g.Devices[0]
		d.Name = fmt.Sprint("data", i)
		g.Devices = append(g.Devices, d)
	}
}

// useFile moves the command line to a file.
func useFile(t *testing.T, g *tender.Guest, size int) {
	t.Helper()
	must.NoError(t, g.Kernel.Truncate(int64(size)))
	g.CommandLineFile, g.CommandLineSize = g.Kernel, uint64(size)
}

// acceptFile is useFile for a guest that accepts long command lines.
func acceptFile(t *testing.T, g *tender.Guest, size int) {
	t.Helper()
	useFile(t, g, size)
	g.Info.Target, g.Info.Features = unikernel.TargetSPT, unikernel.FeatureCommandLine
}

func TestCheck_AcceptsALongCommandLine(t *testing.T) {
	g := validGuest(t)
	for _, size := range []int{1, 0xfff, 0x1000, 4 << 20} {
		g.Memory = 8 * mib
		acceptFile(t, g, size)
		must.NoError(t, g.Check())
		must.Eq(t, 8*mib-uint64(size/0x1000+1)*0x1000, g.HeapEnd())
	}
}

func TestCheck_AcceptsDevicesThatTheManifestLacks(t *testing.T) {
	g := validGuest(t)
	acceptAll(g)
	must.NoError(t, g.Check())
	addDisks(g, unikernel.MaxDevices-len(g.Devices))
	must.NoError(t, g.Check())
	g = validGuest(t)
	g.Info.Features = ^unikernel.FeatureDevices
	addDisks(g, 1)
	must.ErrorContains(t, g.Check(), "lacks the feature devices")
}

func TestCheck_ReportsEachMistake(t *testing.T) {
	disk := func(g *tender.Guest) *tender.Device { return &g.Devices[0] }
	net := func(g *tender.Guest) *tender.Device { return &g.Devices[1] }
	for name, c := range map[string]struct {
		damage func(*tender.Guest)
		says   string
	}{
		"no info":            {func(g *tender.Guest) { g.Info = nil }, "needed"},
		"no console":         {func(g *tender.Guest) { g.Console = nil }, "needed"},
		"memory, half page":  {func(g *tender.Guest) { g.Memory = 2*mib + 512 }, "page size"},
		"memory, too small":  {func(g *tender.Guest) { g.Memory = mib }, "memory"},
		"command line, long": {func(g *tender.Guest) { g.CommandLine = strings.Repeat("x", 8192) }, "8191"},
		"command line, NUL":  {func(g *tender.Guest) { g.CommandLine = "a\x00b" }, "NUL"},
		"long, no feature":   {func(g *tender.Guest) { useFile(t, g, 9000) }, "lacks the feature commandline"},
		"long, hvt": {func(g *tender.Guest) {
			useFile(t, g, 9000)
			g.Info.Features = ^unikernel.Features(0)
			g.Info.Target = unikernel.TargetHVT
		}, "under spt"},
		"long, two":          {func(g *tender.Guest) { acceptFile(t, g, 9000); g.CommandLine = "x" }, "two command lines"},
		"long, empty":        {func(g *tender.Guest) { acceptFile(t, g, 0) }, "must be 1 to 4194304"},
		"long, too long":     {func(g *tender.Guest) { acceptFile(t, g, 4<<20+1) }, "must be 1 to 4194304"},
		"long, another size": {func(g *tender.Guest) { acceptFile(t, g, 9000); g.CommandLineSize-- }, "9000 bytes instead of 8999"},
		"long, no memory":    {func(g *tender.Guest) { acceptFile(t, g, mib-0x1000) }, "memory"},
		"long, all memory":   {func(g *tender.Guest) { acceptFile(t, g, 3*mib) }, "memory"},
		"no disk":            {func(g *tender.Guest) { g.Devices = g.Devices[1:] }, `device "rootfs", which is not attached`},
		"duplicate":          {func(g *tender.Guest) { g.Devices = append(g.Devices, *disk(g)) }, "twice"},
		"not declared":       {func(g *tender.Guest) { g.Info.Manifest = g.Info.Manifest[:1] }, "not declared"},
		"net as disk":        {func(g *tender.Guest) { g.Info.Manifest[0].Type = unikernel.Block }, "attached as net"},
		"a bad name":         {func(g *tender.Guest) { g.Info.Features = unikernel.FeatureDevices; disk(g).Name = "a-b" }, "letters and digits"},
		"a bad type":         {func(g *tender.Guest) { acceptAll(g); disk(g).Type = 3 }, "unknown device type 3"},
		"too many devices":   {func(g *tender.Guest) { acceptAll(g); addDisks(g, 62) }, "64 devices"},
		"no file":            {func(g *tender.Guest) { disk(g).File = nil }, "no file"},
		"no MAC":             {func(g *tender.Guest) { net(g).MAC = [6]byte{} }, "no MAC"},
		"group MAC":          {func(g *tender.Guest) { net(g).MAC = [6]byte{1, 0, 0x5e} }, "multicast"},
		"no MTU":             {func(g *tender.Guest) { net(g).MTU = 0 }, "MTU"},
		"small block":        {func(g *tender.Guest) { disk(g).BlockSize = 256 }, "power of two"},
		"odd block":          {func(g *tender.Guest) { disk(g).BlockSize = 521 }, "power of two"},
		"no capacity":        {func(g *tender.Guest) { disk(g).Capacity = 0 }, "less than one block"},
		"odd capacity":       {func(g *tender.Guest) { disk(g).Capacity = 1000 }, "multiple"},
		"more than the file": {func(g *tender.Guest) { disk(g).Capacity = 128 << 10 }, "holds 65536"},
		"appending":          {func(g *tender.Guest) { disk(g).File = g.Console; must.NoError(t, g.Console.Truncate(64<<10)) }, "appending"},
		"odd transfer":       {func(g *tender.Guest) { disk(g).MaxTransfer = 1000 }, "multiple of 512"},
		"large transfer":     {func(g *tender.Guest) { disk(g).MaxTransfer = 2 * mib }, "at most"},
	} {
		t.Run(name, func(t *testing.T) {
			g := validGuest(t)
			c.damage(g)
			err := g.Check()
			must.ErrorIs(t, err, tender.ErrGuest)
			must.StrContains(t, err.Error(), c.says)
		})
	}
}

func TestCheck_ReportsAllMistakes(t *testing.T) {
	g := validGuest(t)
	g.Devices[0].BlockSize = 1
	g.Devices[1].MTU = 1
	g.CommandLine = "\x00"
	err := g.Check()
	for _, mistake := range []string{"block size", "MTU", "NUL"} {
		must.StrContains(t, err.Error(), mistake)
	}
}

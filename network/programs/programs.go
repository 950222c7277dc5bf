// SPDX-License-Identifier: MPL-2.0

// Package programs contains the traffic control programs of package network. "make build"
// compiles them from network/bpf/share.c.
package programs

import (
	"bytes"
	_ "embed" // for object
	"fmt"
	"maps"
	"net"
	"net/netip"
	"sync"

	"github.com/cilium/ebpf"
)

// object is the compiled programs. Without it the compiler stops here: run make build.
//
//go:embed run-make-build/share.o
var object []byte

// MaxAddresses is the number of addresses that a guest can share.
const MaxAddresses = 16

// A Ports contains TCP or UDP ports.
type Ports [65536 / 8]byte

// Add adds the ports from first to last.
func (p *Ports) Add(first, last uint16) {
	for port := uint32(first); port <= uint32(last); port++ {
		p[port/8] |= 1 << (port % 8)
	}
}

// Guest describes a guest that shares the addresses of an interface.
type Guest struct {
	Tap            int // the interface's index
	MAC            net.HardwareAddr
	Addresses      []netip.Addr // the first of each family has the loopback addresses' connections
	First, Last    uint16       // ephemeral ports
	TCP, UDP       Ports        // declared ports
	Rest           bool         // the guest has all other ports, too
	LoopbackTarget bool         // the guest exchanges packets from and to loopback addresses
	AnySourcePort  bool         // the guest may send from any port to the interface
}

// config is struct config of alias.h.
type config struct {
	Own            [MaxAddresses][16]byte
	Main4, Main6   [16]byte
	Count          uint32
	Tap            uint32
	First, Last    uint16
	MAC            [6]byte
	LoopbackTarget bool
	Rest           bool
	AnySourcePort  bool
	_              [3]byte
}

func (g *Guest) config() (*config, error) {
	if len(g.Addresses) > MaxAddresses {
		return nil, fmt.Errorf("the interface has %d addresses; a guest can share at most %d", len(g.Addresses), MaxAddresses)
	}
	c := &config{
		Count: uint32(len(g.Addresses)), Tap: uint32(g.Tap),
		First: g.First, Last: g.Last, MAC: [6]byte(g.MAC),
		LoopbackTarget: g.LoopbackTarget, Rest: g.Rest, AnySourcePort: g.AnySourcePort,
	}
	for i, a := range g.Addresses {
		c.Own[i] = a.As16()
		main := &c.Main6
		if a.Is4() {
			main = &c.Main4
		}
		if *main == [16]byte{} && !a.IsLinkLocalUnicast() {
			*main = a.As16()
		}
	}
	return c, nil
}

// Levels of the filters of an interface. Those of a level come before those of the next
// one of all guests.
const (
	Declared  = iota // ports that only this guest has
	Ephemeral        // ports of the connections that it opens
	Rest             // all other ports
	Levels
)

// A Filter is the class ID by which the program recognizes the filter that runs it. The
// level is added to it, except for FromGuest.
type Filter uint32

// The filters of the tap, of the allocation's interface and of the loopback interface.
const (
	FromGuest     Filter = 0x10
	FromInterface Filter = 0x20
	FromLoopback  Filter = 0x30
)

var parse = sync.OnceValues(func() (*ebpf.CollectionSpec, error) {
	return ebpf.LoadCollectionSpecFromReader(bytes.NewReader(object))
})

// Load loads the program of a guest into the kernel. The caller closes it; traffic control
// keeps it.
func Load(g *Guest) (*ebpf.Program, error) {
	parsed, err := parse()
	if err != nil {
		return nil, err
	}
	c, err := g.config()
	if err != nil {
		return nil, err
	}
	return load(parsed, "share", map[string]any{"config": c, "tcp_ports": g.TCP, "udp_ports": g.UDP})
}

// load loads a program with its constants.
func load(parsed *ebpf.CollectionSpec, name string, constants map[string]any) (*ebpf.Program, error) {
	spec := parsed.Copy()
	for name, value := range constants {
		if err := spec.Variables[name].Set(value); err != nil {
			return nil, fmt.Errorf("set %s: %w", name, err)
		}
	}
	maps.DeleteFunc(spec.Programs, func(other string, _ *ebpf.ProgramSpec) bool { return other != name })
	collection, err := ebpf.NewCollection(spec)
	if err != nil {
		return nil, err
	}
	defer collection.Close()
	return collection.DetachProgram(name), nil
}

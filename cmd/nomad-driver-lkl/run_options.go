// SPDX-License-Identifier: MPL-2.0

package main

import (
	"errors"
	"fmt"
	"net"
	"regexp"
	"strconv"
	"strings"

	"github.com/lkl-nomad/nomad-driver-lkl/tender"
)

const (
	defaultMemory = 512
	// mostMemory bounds --mem, in MB: below the spt tender's launcher, which
	// lies at 1 TiB.
	mostMemory = 1<<20 - 1
)

var (
	errRunHelp    = errors.New("help asked for")
	errRunVersion = errors.New("version asked for")
)

// runOptions are the command line of run. What it says of devices is kept as
// it was given, to be held against the manifest.
type runOptions struct {
	kernel              string
	args                []string
	memory              uint64 // bytes
	execHeap, hugePages bool

	interfaces map[string]string // network name → tap, or @ and a descriptor
	macs       map[string][6]byte
	offloads   map[string]bool
	disks      map[string]string // block device name → path
	blockSizes map[string]uint16
	// Beyond Solo5's; by a block device's name.
	transfers    map[string]uint32 // bytes
	flushes      map[string]bool
	writeThrough map[string]bool
}

// deviceOption is an option with a device's name: --net:NAME=VALUE; deviceSwitch
// is one without a value. Names are Solo5's.
var (
	deviceOption = regexp.MustCompile(`^--(net|net-mac|block|block-sector-size|block-transfer):([A-Za-z0-9]{1,67})=(.+)$`)
	deviceSwitch = regexp.MustCompile(`^--(net-offload|block-flush|block-write-through):([A-Za-z0-9]{1,67})$`)
)

// parseRun reads options up to "--" or the kernel's name. Its errors are
// errRunHelp, errRunVersion, or tell which option is wrong.
func parseRun(args []string) (*runOptions, error) {
	o := &runOptions{
		memory:     defaultMemory << 20,
		interfaces: map[string]string{}, macs: map[string][6]byte{}, offloads: map[string]bool{},
		disks: map[string]string{}, blockSizes: map[string]uint16{},
		transfers: map[string]uint32{}, flushes: map[string]bool{}, writeThrough: map[string]bool{},
	}
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		option := args[0]
		args = args[1:]
		if option == "--" {
			break
		}
		if err := o.set(option); err != nil {
			return nil, err
		}
	}
	if len(args) == 0 {
		return nil, errors.New("missing KERNEL operand")
	}
	o.kernel, o.args = args[0], args[1:]
	return o, nil
}

func (o *runOptions) set(option string) error {
	name, value, hasValue := strings.Cut(option, "=")
	switch {
	case option == "--help":
		return errRunHelp
	case option == "--version":
		return errRunVersion
	case option == "--x-exec-heap":
		o.execHeap = true
		return nil
	case option == "--huge-pages":
		o.hugePages = true
		return nil
	case name == "--mem" && hasValue:
		return o.setMemory(value)
	case name == "--tender" && hasValue:
		if value != "spt" {
			return fmt.Errorf("--tender=%s: only spt is known", value)
		}
		return nil
	}
	if m := deviceOption.FindStringSubmatch(option); m != nil {
		return o.setDevice(m[1], m[2], m[3])
	}
	m := deviceSwitch.FindStringSubmatch(option)
	if m == nil {
		return fmt.Errorf("invalid option: `%s'", option)
	}
	map[string]map[string]bool{
		"net-offload": o.offloads, "block-flush": o.flushes, "block-write-through": o.writeThrough,
	}[m[1]][m[2]] = true
	return nil
}

func (o *runOptions) setMemory(value string) error {
	mb, err := strconv.ParseUint(value, 10, 64)
	if err != nil || mb == 0 || mb > mostMemory {
		return fmt.Errorf("malformed argument to --mem: want 1 to %d MB, got %q", mostMemory, value)
	}
	o.memory = mb << 20
	return nil
}

func (o *runOptions) setDevice(option, name, value string) error {
	switch option {
	case "net":
		o.interfaces[name] = value
	case "net-mac":
		mac, err := net.ParseMAC(value)
		if err != nil || len(mac) != 6 {
			return fmt.Errorf("--net-mac:%s=%s: want a MAC address, 6 bytes such as 02:00:00:00:00:01", name, value)
		}
		o.macs[name] = [6]byte(mac)
	case "block":
		o.disks[name] = value
	case "block-sector-size":
		size, err := strconv.ParseUint(value, 10, 16)
		if err != nil || size < tender.MinBlockSize || size&(size-1) != 0 {
			return fmt.Errorf("--block-sector-size:%s=%s: "+
				"Block size must be a multiple of 2 greater than or equal 512: a power of two", name, value)
		}
		o.blockSizes[name] = uint16(size)
	case "block-transfer":
		size, err := strconv.ParseUint(value, 10, 32)
		if err != nil || size > tender.LargestTransfer {
			return fmt.Errorf("--block-transfer:%s=%s: want at most %d bytes", name, value, tender.LargestTransfer)
		}
		o.transfers[name] = uint32(size)
	}
	return nil
}

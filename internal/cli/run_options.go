// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"errors"
	"fmt"
	"net"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"github.com/lkl-nomad/nomad-driver-lkl/tender"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel/lkl"
)

const (
	defaultMemory = 512 // MB
	// maxMemory is the maximum of --mem, in MB. The spt tender maps its launcher
	// at 1 TiB, above the guest's memory.
	maxMemory = 1<<20 - 1
)

var (
	errRunHelp    = errors.New("help requested")
	errRunVersion = errors.New("version requested")
)

// runOptions is the command line of run. The maps have the names of devices as
// keys; checkDevices compares them with the manifest.
type runOptions struct {
	kernel              string
	args                []string
	memory              uint64 // bytes
	execHeap, hugePages bool

	volumes []volume
	argv0   string

	interfaces map[string]string // name of a tap, or "@" and a file descriptor
	macs       map[string][6]byte
	offloads   map[string]bool
	disks      map[string]string // path
	blockSizes map[string]uint16

	transfers    map[string]uint32 // bytes
	flushes      map[string]bool
	writeThrough map[string]bool
}

// deviceOption matches an option with the name of a device, such as
// --net:NAME=VALUE. deviceSwitch matches one without a value. The names of devices
// have the form that Solo5 requires. Compiling the expressions takes a third of a
// millisecond, which the other commands need not wait for.
var (
	deviceOption = lazyRegexp(`^--(net|net-mac|block|block-sector-size|block-transfer):([A-Za-z0-9]{1,67})=(.+)$`)
	deviceSwitch = lazyRegexp(`^--(net-offload|block-flush|block-write-through):([A-Za-z0-9]{1,67})$`)
)

func lazyRegexp(expression string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expression) })
}

// parseRun parses the options up to "--" or the name of the kernel. It returns
// errRunHelp or errRunVersion for these options, and an error that names an
// option that is not valid.
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
	case name == "--argv0" && hasValue:
		o.argv0 = value
		return lkl.CheckName(value)
	case name == "--volume" && hasValue:
		return o.addVolume(value)
	case name == "--tender" && hasValue:
		if value != "spt" {
			return fmt.Errorf("--tender=%s: the only tender is spt", value)
		}
		return nil
	}
	if m := deviceOption().FindStringSubmatch(option); m != nil {
		return o.setDevice(m[1], m[2], m[3])
	}
	m := deviceSwitch().FindStringSubmatch(option)
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
	if err != nil || mb == 0 || mb > maxMemory {
		return fmt.Errorf("malformed argument to --mem: %q must be a number of MB from 1 to %d", value, maxMemory)
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
			return fmt.Errorf("--net-mac:%s=%s: must be a MAC address of 6 bytes, such as 02:00:00:00:00:01", name, value)
		}
		o.macs[name] = [6]byte(mac)
	case "block":
		o.disks[name] = value
	case "block-sector-size":
		size, err := strconv.ParseUint(value, 10, 16)
		if err != nil || size < tender.MinBlockSize || size&(size-1) != 0 {
			return fmt.Errorf("--block-sector-size:%s=%s: "+
				"Block size must be a multiple of 2 greater than or equal 512, and a power of two", name, value)
		}
		o.blockSizes[name] = uint16(size)
	case "block-transfer":
		size, err := strconv.ParseUint(value, 10, 32)
		if err != nil || size > tender.LargestTransfer {
			return fmt.Errorf("--block-transfer:%s=%s: must be a number of bytes, at most %d", name, value, tender.LargestTransfer)
		}
		o.transfers[name] = uint32(size)
	}
	return nil
}

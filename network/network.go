// SPDX-License-Identifier: MPL-2.0

// Package network connects a guest to the network of its allocation. Nomad and CNI
// create the network namespace; this package creates a tap in it. The mode decides which
// frames reach the tap: AttachL2, AttachShared, AttachHost and AttachNowhere.
package network

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"

	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
)

var (
	// ErrNoNamespace means that the path is not a network namespace.
	ErrNoNamespace = errors.New("no network namespace")
	// ErrNoInterface means that no interface of the namespace can be a guest's.
	ErrNoInterface = errors.New("no usable network interface")
	// ErrOnlyLoopback means that the namespace has no interface but lo.
	ErrOnlyLoopback = errors.New("the network has only a loopback interface")
	// ErrTaken means that a running guest already uses the allocation's network.
	ErrTaken = errors.New("another unikernel of this group already uses the allocation's network: " +
		"set network_mode = \"shared\" in both tasks, or put each into a separate group")
	// ErrForeign means that another program filters the interface's ingress traffic.
	ErrForeign = errors.New("another program has set up ingress traffic control on the interface: " +
		"remove the CNI plugin that does so from the network's configuration")
	// ErrNoRedirect means that the kernel lacks a traffic control module.
	ErrNoRedirect = errors.New("the kernel cannot redirect frames: " +
		"load the modules sch_ingress, cls_u32 and act_mirred")
	// ErrNoFilter means that the kernel lacks the classifier that prevents spoofing.
	ErrNoFilter = errors.New("the kernel cannot filter the guest's frames: " +
		"load the module cls_bpf (CONFIG_NET_CLS_BPF), or set allow_spoofing in the plugin's configuration")
	// ErrNoBandwidth means that the kernel cannot limit a guest's bandwidth.
	ErrNoBandwidth = errors.New("the kernel cannot limit the guest's bandwidth: " +
		"load the module sch_tbf and use a kernel with CONFIG_BPF_SYSCALL, or remove bandwidth from the task's config")
	// ErrNoChecksumCheck means that the kernel cannot confine a guest with offloads.
	ErrNoChecksumCheck = errors.New("the kernel cannot check the guest's checksum offloads: " +
		"use a kernel with CONFIG_BPF_SYSCALL and CONFIG_DEBUG_INFO_BTF, or set allow_spoofing in the plugin's configuration")
)

// MaxMTU is the largest MTU of a guest's tap unless Options.MaxMTU is set, in bytes.
// Legacy LKL guests fail with larger ones.
const MaxMTU = unikernel.MaxMTU

// MaxTapMTU is the kernel's limit: a frame has at most 65535 bytes, and the header of
// Ethernet has 14.
const MaxTapMTU = 65535 - 14

// Interface describes the allocation's interface in its namespace.
type Interface struct {
	Name      string
	MAC       net.HardwareAddr
	MTU       int            // bytes
	Addresses []netip.Prefix // the preferred first; link-local addresses are left out
	Gateway4  netip.Addr     // of the default route; the zero Addr if there is no such route
	Gateway6  netip.Addr
	// Routes are those that do not follow from the addresses and gateways. Routes
	// without a gateway are first. A default route is among them if it has no gateway,
	// or one of the other address family.
	Routes []Route
}

// Route is a route through the interface.
type Route struct {
	Destination netip.Prefix
	Gateway     netip.Addr // the zero Addr for an on-link route
}

// Tap is the guest's end of the allocation's network. The kernel removes the tap when
// the last descriptor of File is closed.
type Tap struct {
	File    *os.File         // O_NONBLOCK
	Name    string           // in the allocation's namespace
	MAC     net.HardwareAddr // of the interface; the guest uses it
	MTU     int              // for the guest, in bytes: the interface's, within the limits
	Offload bool             // frames have a virtio header and may be unsegmented; see SetOffload
	// Ephemeral is the range of ports for the guest's own connections; zero for any.
	Ephemeral PortRange
	// Warnings are properties of the host that the operator should know.
	Warnings []string
}

// Close closes this process's descriptor of the tap.
func (t *Tap) Close() error { return t.File.Close() }

// Inspect finds an interface in the namespace at a path such as /var/run/netns/ID. If
// the name is "", it chooses the interface of the default route, or else the only one
// that has an address beyond link-local. An interface that is named needs no address.
// Errors: ErrNoNamespace, ErrNoInterface, and with the latter ErrOnlyLoopback.
func Inspect(netns, name string) (*Interface, error) {
	var found *Interface
	err := inNamespace(netns, func(n *namespace) (err error) {
		found, err = n.inspect(name)
		return err
	})
	return found, err
}

// attachMutex makes checking for another guest and attaching one step.
var attachMutex sync.Mutex

// AttachL2 creates a tap in an allocation's namespace and redirects frames between it
// and the allocation's interface. The guest then owns the interface's addresses on the
// link, and the namespace's own stack receives nothing from it. Unless the options allow
// spoofing, frames of the guest with another sender than the interface's MAC and
// addresses are dropped, and so are messages of routers and DHCP servers.
//
// AttachL2 replaces the redirection of a guest that has ended. The caller closes the
// tap and calls Detach when the guest has ended. Errors: ErrTaken if another guest is
// running, ErrForeign, ErrNoRedirect, ErrNoFilter,
// ErrNoChecksumCheck, and those of Inspect.
func AttachL2(netns string, o Options) (*Tap, error) {
	attachMutex.Lock()
	defer attachMutex.Unlock()
	var tap *Tap
	err := inNamespace(netns, func(n *namespace) (err error) {
		tap, err = n.attach(o)
		return err
	})
	return tap, err
}

// Detach returns the interface to the namespace's own stack if its frames are
// redirected to the named tap, or to a tap that no longer exists. It does nothing
// if the namespace does not exist.
func Detach(netns, tap string) error {
	attachMutex.Lock()
	defer attachMutex.Unlock()
	err := inNamespace(netns, func(n *namespace) error { return n.detach(tap) })
	if errors.Is(err, ErrNoNamespace) {
		return nil
	}
	return err
}

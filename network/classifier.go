// SPDX-License-Identifier: MPL-2.0

package network

import (
	"fmt"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/bpf"
)

// The kernel asks the classifiers of an interface in the order of their priorities. The
// last one drops the frames that the ones before it have not redirected. Without it, the
// namespace's own stack would receive them.
const (
	limitPriority = 1 // only for guests with limited bandwidth
	checkPriority = 2 // only for guests with offloads
	sharePriority = 3 // only in shared mode
	passPriority  = 4
	guestPriority = 5 // the first one that is free for classifiers after guardTap
	dropPriority  = 0xfff0
)

// guardTap makes the tap drop frames that its guest must not send, according to the
// options. All others go on to the classifiers from guestPriority on, and without any to
// the namespace's stack.
func (n *namespace) guardTap(tap netlink.Link, owner owner, o Options) error {
	index, name := tap.Attrs().Index, tap.Attrs().Name
	if err := n.QdiscAdd(ingressQdisc(index)); err != nil {
		return fmt.Errorf("add the ingress qdisc of %s: %w", name, classifyRedirectError(err))
	}
	if filter := o.filter(owner); filter != nil {
		if err := checkSize(filter); err != nil {
			return err
		}
		if err := addClassifier(index, passPriority, withVerdicts(filter), nil); err != nil {
			return fmt.Errorf("filter the frames from %s: %w", name, classifyFilterError(err))
		}
	}
	return n.checkAndLimit(tap, o)
}

// checkAndLimit adds the classifiers of a tap that precede the filter.
func (n *namespace) checkAndLimit(tap netlink.Link, o Options) error {
	if o.Offload && !o.AllowSpoofing {
		if err := n.addChecksumCheck(tap); err != nil {
			return err
		}
	}
	return n.limitBandwidth(tap, o.Bandwidth)
}

// filter returns the program over the frames of a guest, or nil if all may pass.
func (o Options) filter(owner owner) bpf.Program {
	switch {
	case !o.AllowSpoofing:
		return owner.filter(o.BlockMetadata)
	case o.BlockMetadata:
		return metadataFilter()
	}
	return nil
}

// withVerdicts changes the results of a filter to those of a classifier without an action:
// after a frame that passes, the kernel asks the next classifier.
func withVerdicts(filter bpf.Program) bpf.Program {
	const shot = uint32(netlink.TC_ACT_SHOT) // pass is TC_ACT_UNSPEC already
	filter.ReplaceReturn(drop, shot)
	return filter
}

func checkSize(filter bpf.Program) error {
	if len(filter) > unix.BPF_MAXINSNS {
		return fmt.Errorf("the interface has too many addresses: the guest's filter would have %d instructions, and the kernel allows %d",
			len(filter), unix.BPF_MAXINSNS)
	}
	return nil
}

// redirectFiltered sends the frames that the filter passes out of another interface, and
// drops all others that the first interface receives.
func (n *namespace) redirectFiltered(from, to netlink.Link, filter bpf.Program) error {
	if err := checkSize(filter); err != nil {
		return fmt.Errorf("%s: %w", to.Attrs().Name, err)
	}
	index, name := from.Attrs().Index, from.Attrs().Name
	if err := n.QdiscAdd(ingressQdisc(index)); err != nil {
		return fmt.Errorf("add the ingress qdisc of %s: %w", name, classifyRedirectError(err))
	}
	if err := dropRest(from); err != nil {
		return err
	}
	redirect := []netlink.Action{netlink.NewMirredAction(to.Attrs().Index)}
	if err := addClassifier(index, passPriority, filter, redirect); err != nil {
		return fmt.Errorf("filter the frames from %s to %s: %w", name, to.Attrs().Name, classifyFilterError(err))
	}
	return nil
}

// dropRest drops the frames that no other classifier of an interface redirects or passes.
func dropRest(link netlink.Link) error {
	var dropAll bpf.Program
	dropAll.Return(uint32(netlink.TC_ACT_SHOT))
	if err := addClassifier(link.Attrs().Index, dropPriority, dropAll, nil); err != nil {
		return fmt.Errorf("drop other frames from %s: %w", link.Attrs().Name, classifyFilterError(err))
	}
	return nil
}

// addClassifier adds a cls_bpf classifier with a classic program to an interface of the
// current namespace. The kernel runs the actions on each frame for which the program
// does not return 0. Without actions, the program returns the verdict itself. Package
// netlink supports only programs that bpf(2) has loaded.
func addClassifier(linkIndex int, priority uint16, program bpf.Program, actions []netlink.Action) error {
	request := nl.NewNetlinkRequest(unix.RTM_NEWTFILTER, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_ACK)
	request.AddData(&nl.TcMsg{
		Family: nl.FAMILY_ALL, Ifindex: int32(linkIndex), Parent: ingressHandle,
		Info: netlink.MakeHandle(priority, nl.Swap16(unix.ETH_P_ALL)),
	})
	request.AddData(nl.NewRtAttr(nl.TCA_KIND, nl.ZeroTerminated("bpf")))
	options := nl.NewRtAttr(nl.TCA_OPTIONS, nil)
	options.AddRtAttr(nl.TCA_BPF_OPS_LEN, nl.Uint16Attr(uint16(len(program))))
	options.AddRtAttr(nl.TCA_BPF_OPS, program.Encode())
	if len(actions) == 0 {
		options.AddRtAttr(nl.TCA_BPF_FLAGS, nl.Uint32Attr(nl.TCA_BPF_FLAG_ACT_DIRECT))
	} else if err := netlink.EncodeActions(options.AddRtAttr(nl.TCA_BPF_ACT, nil), actions); err != nil {
		return err
	}
	request.AddData(options)
	_, err := request.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

// addChecksumCheck checks the frames of a guest with offloads; see loadChecksumCheck.
func (n *namespace) addChecksumCheck(tap netlink.Link) error {
	check, err := loadChecksumCheck()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNoChecksumCheck, err)
	}
	defer func() { _ = check.Close() }() // the classifier keeps the program
	err = n.FilterAdd(&netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{
			LinkIndex: tap.Attrs().Index, Parent: ingressHandle, Priority: checkPriority, Protocol: unix.ETH_P_ALL,
		},
		Fd: check.FD(), Name: "checksum", DirectAction: true,
	})
	if err != nil {
		return fmt.Errorf("check the checksums of frames from %s: %w", tap.Attrs().Name, classifyFilterError(err))
	}
	return nil
}

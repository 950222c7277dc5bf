// SPDX-License-Identifier: MPL-2.0

package matrix

import (
	"github.com/hashicorp/nomad/nomad/structs"
)

// guestPorts are the ports of a guest.
type guestPorts struct {
	echo, command uint16
	closed        uint16 // belongs to the guest, but no program listens there
	late          uint16 // where a program of the guest may listen later
}

// Two guests of a group.
var (
	firstPorts  = guestPorts{echo: 7, closed: 9, command: 7000, late: 7001}
	secondPorts = guestPorts{echo: 8007, closed: 8009, command: 8000, late: 8001}
)

// groupPorts returns the ports of a group. host is the address of the host for them.
func groupPorts(host string, guests map[string]guestPorts) structs.AllocatedPorts {
	var all structs.AllocatedPorts
	for name, p := range guests {
		for label, port := range p.byLabel(name) {
			all = append(all, structs.AllocatedPortMapping{Label: label, Value: int(port), HostIP: host})
		}
	}
	return all
}

func (p guestPorts) byLabel(name string) map[string]uint16 {
	return map[string]uint16{
		name + "-echo": p.echo, name + "-closed": p.closed, name + "-command": p.command, name + "-late": p.late,
	}
}

// labels is the option ports of a task.
func (p guestPorts) labels(name string) (labels []string) {
	for label := range p.byLabel(name) {
		labels = append(labels, label)
	}
	return labels
}

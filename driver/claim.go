// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"fmt"

	"github.com/hashicorp/nomad/plugins/drivers"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/problems"
)

// A claim is the part of its alloc's network that a task uses.
type claim struct {
	links    []link
	ports    portClaim
	hasPorts bool // the group's network has ports
}

// claimOf returns the claim of a valid job.
func claimOf(j job, links []link) claim {
	return claim{links: links, ports: j.portClaim(), hasPorts: len(groupPorts(j.task)) > 0}
}

// check reports the conflicts with the claim of another task of the same alloc.
func (c claim) check(list *problems.List, other claim, name string) {
	for _, l := range c.links {
		for _, o := range other.links {
			if l.meets(o) {
				c.checkLinks(list, [2]networkMode{l.Mode, o.Mode}, other, name)
				return
			}
		}
	}
}

// meets reports whether two links of one alloc lead to the same interface. The interface of
// a link of an earlier plugin is unknown.
func (l link) meets(o link) bool {
	return l.Mode != modeNone && o.Mode != modeNone &&
		(l.Interface == o.Interface || l.Interface == "" || o.Interface == "")
}

// checkLinks reports conflicts between two tasks that use the same interface.
func (c claim) checkLinks(list *problems.List, modes [2]networkMode, other claim, name string) {
	switch {
	case modes == [2]networkMode{modeL2, modeL2}:
		list.Addf("network_mode", "the task %q of this group has taken over the same interface: set network_mode = %q in both tasks, "+
			"or put each into a separate group", name, modeShared)
	case modes[0] == modeL2 || modes[1] == modeL2:
		list.Addf("network_mode", "this task has %q and the task %q of this group has %q: set network_mode = %q in both tasks, "+
			"or put each into a separate group", modes[0], name, modes[1], modeShared)
	case c.ports.all && other.ports.all && c.hasPorts:
		list.Addf("ports", "is missing, as in the task %q, so both tasks would serve all ports of the group: set ports in both "+
			"tasks to the ports that the task serves, and to [] in a task that serves none", name)
	default:
		c.checkPorts(list, modes[0], other, name)
	}
}

// checkPorts reports ports that belong to both tasks. In host mode each guest has another
// address, so only the same port of the host is a conflict.
func (c claim) checkPorts(list *problems.List, mode networkMode, other claim, name string) {
	for i, p := range c.ports.ports {
		for _, o := range other.ports.ports {
			same := p.overlaps(o)
			if mode == modeHost {
				same = p.label == o.label
			}
			if same {
				list.Addf(fmt.Sprintf("ports[%d]", i), "%q belongs to the task %q of this group already, as %q: "+
					"a port can lead to one task only", p.text, name, o.text)
			}
		}
	}
	if mode == modeHost && c.ports.all != other.ports.all && c.hasPorts {
		list.Addf("ports", "must be set in this task and in the task %q: without it, a task serves all ports of the group", name)
	}
}

// claim returns the claim of a task, which an earlier plugin may have started.
func (h *handle) claim() (claim, bool) {
	j := job{task: h.task}
	if err := h.task.DecodeDriverConfig(&j.config); err != nil {
		return claim{}, false // of a newer plugin
	}
	return claimOf(j, h.state.allLinks()), true
}

// claim reserves a part of the alloc's network for a task that is being started. Its error
// names the tasks of the alloc that use it already.
func (t *taskTable) claim(task *drivers.TaskConfig, c claim) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	var list problems.List
	for _, h := range t.handles {
		if !isNeighbor(h.record(), task) || !h.running() {
			continue
		}
		if other, ok := h.claim(); ok {
			c.check(&list, other, h.task.Name)
		}
	}
	for _, r := range t.reserved {
		if isNeighbor(r.task, task) && r.claim != nil {
			c.check(&list, *r.claim, r.task.Name)
		}
	}
	if err := taskConfigError(&list); err != nil {
		return err
	}
	if r := t.reserved[task.ID]; r != nil {
		r.claim = &c
	}
	return nil
}

// isNeighbor reports whether a record is of another task of the same alloc.
func isNeighbor(r record, task *drivers.TaskConfig) bool {
	return r.AllocID == task.AllocID && r.Name != task.Name
}

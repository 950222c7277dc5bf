// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"testing"

	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"
)

var (
	sharedLinks = []link{{Device: "tap", Mode: modeShared, Netns: "/run/netns/a", Interface: "eth0"}}
	l2Links     = []link{{Device: "tap", Mode: modeL2, Netns: "/run/netns/a", Interface: "eth0"}}
	hostLinks   = []link{{Device: "tap", Mode: modeHost}}
	noLinks     = []link{{Device: "tap", Mode: modeNone}}
)

func otherInterface(links []link) []link { return []link{{Mode: links[0].Mode, Interface: "eth1"}} }

var claimCases = []struct {
	name        string
	first       []string // ports of a running task; nil for all
	firstLinks  []link
	second      []string
	secondLinks []link
	wrong       []string
}{
	{name: "own ports", first: []string{"http"}, firstLinks: sharedLinks, second: []string{"admin"}, secondLinks: sharedLinks},
	{name: "own numbers", first: []string{"http", "53/udp"}, firstLinks: sharedLinks, second: []string{"admin", "53/tcp", "9001"}, secondLinks: sharedLinks},
	{name: "the same port", first: []string{"http"}, firstLinks: sharedLinks, second: []string{"admin", "http"}, secondLinks: sharedLinks, wrong: []string{"ports[1]"}},
	{name: "the number of a label", first: []string{"http"}, firstLinks: sharedLinks, second: []string{"8000-8100/tcp"}, secondLinks: sharedLinks, wrong: []string{"ports[0]"}},
	{name: "all and some", firstLinks: sharedLinks, second: []string{"http"}, secondLinks: sharedLinks},
	{name: "some and all", first: []string{"http"}, firstLinks: sharedLinks, secondLinks: sharedLinks},
	{name: "all and none", firstLinks: sharedLinks, second: []string{}, secondLinks: sharedLinks},
	{name: "none and none", first: []string{}, firstLinks: sharedLinks, second: []string{}, secondLinks: sharedLinks},
	{name: "all and all", firstLinks: sharedLinks, secondLinks: sharedLinks, wrong: []string{"ports"}},
	{name: "taken over", first: []string{}, firstLinks: l2Links, second: []string{"http"}, secondLinks: sharedLinks, wrong: []string{"network_mode"}},
	{name: "taking over", first: []string{}, firstLinks: sharedLinks, second: []string{"http"}, secondLinks: l2Links, wrong: []string{"network_mode"}},
	{name: "taking over twice", firstLinks: l2Links, secondLinks: l2Links, wrong: []string{"network_mode"}},
	{name: "different interfaces", firstLinks: l2Links, secondLinks: otherInterface(l2Links)},
	{name: "without a network", firstLinks: l2Links, secondLinks: noLinks},
	{name: "with a neighbor without a network", firstLinks: noLinks, secondLinks: l2Links},
	{name: "an unknown interface", firstLinks: []link{{Mode: modeL2}}, secondLinks: sharedLinks, wrong: []string{"network_mode"}},
	{name: "host", first: []string{"http"}, firstLinks: hostLinks, second: []string{"admin"}, secondLinks: hostLinks},
	{name: "the same port of the host", first: []string{"http"}, firstLinks: hostLinks, second: []string{"http"}, secondLinks: hostLinks, wrong: []string{"ports[0]"}},
	{name: "all ports of the host", firstLinks: hostLinks, second: []string{"http"}, secondLinks: hostLinks, wrong: []string{"ports"}},
	{name: "all ports of the host, the other way", first: []string{"http"}, firstLinks: hostLinks, secondLinks: hostLinks, wrong: []string{"ports"}},
}

func TestClaim_ReportsConflictsWithinAnAlloc(t *testing.T) {
	for _, c := range claimCases {
		t.Run(c.name, func(t *testing.T) {
			running, starting := changedTask(func(task *drivers.TaskConfig) { task.ID, task.Name = "1", "web" }), plainTask()
			must.NoError(t, running.EncodeConcreteDriverConfig(&TaskConfig{Ports: c.first}))
			second := claimOf(job{task: starting, config: TaskConfig{Ports: c.second}}, c.secondLinks)
			check := func(table *taskTable) {
				err := table.claim(starting, second)
				must.Eq(t, c.wrong, fields(err))
				if err != nil {
					must.ErrorContains(t, err, `"web"`)
				}
			}

			var table taskTable
			h := testDriver(t).newHandle(running, taskState{Links: c.firstLinks}, nil)
			table.put(h)
			check(&table)
			h.setExit(&drivers.ExitResult{}, h.completed) // an ended task has no claim
			must.NoError(t, table.claim(starting, second))

			var starts taskTable // two starts at the same time
			for _, task := range []*drivers.TaskConfig{running, starting} {
				_, err := starts.reserve(t.Context(), task)
				must.NoError(t, err)
			}
			must.NoError(t, starts.claim(running, claimOf(job{task: running, config: TaskConfig{Ports: c.first}}, c.firstLinks)))
			check(&starts)
			starts.release(running.ID, nil)
			must.NoError(t, starts.claim(starting, second))
		})
	}
}

func TestClaim_IgnoresOtherAllocsAndEarlierStarts(t *testing.T) {
	for _, change := range []func(*drivers.TaskConfig){
		func(task *drivers.TaskConfig) { task.ID, task.AllocID, task.Name = "1", "another", "web" },
		func(task *drivers.TaskConfig) { task.ID = "1" }, // an earlier start of the same task
	} {
		var table taskTable
		running := changedTask(change)
		must.NoError(t, running.EncodeConcreteDriverConfig(&TaskConfig{}))
		table.put(testDriver(t).newHandle(running, taskState{Links: l2Links}, nil))
		must.NoError(t, table.claim(plainTask(), claimOf(job{task: plainTask()}, l2Links)))
	}
}

// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"
)

// sharedGroup returns a job with a group of two Linux guests, a guest without an operating
// system and a process, each with a mapped port. A second group has only a process.
//
// The Linux guests and the process also listen on a port of 127.0.0.1: the number of
// their mapped port plus 10.
func sharedGroup(t *testing.T) *api.Job {
	t.Helper()
	first := memberGuest(t, "first", "0.0.0.0:9001", "127.0.0.1:9011").
		SetConfig("ports", []string{"first", "9011"})
	second := memberGuest(t, "second", "0.0.0.0:9002", "127.0.0.1:9012").
		SetConfig("ports", []string{"second", "9012"})
	neighbor := memberProcess(t, "neighbor", "0.0.0.0:9003", "127.0.0.1:9013")
	job := members(t, first, second, neighbor, httpdGuest("httpd"))
	job = withPort(withPort(withPort(job, "first", 9001), "neighbor", 9003), "httpd", 8080)
	job.TaskGroups[0].Networks[0].ReservedPorts = []api.Port{{Label: "second", Value: staticPort, To: 9002}}

	visitor := api.NewTaskGroup("visitor", 1).AddTask(memberProcess(t, "visitor", "0.0.0.0:9004"))
	visitor.Networks = []*api.NetworkResource{{Mode: "bridge", DynamicPorts: []api.Port{{Label: "visitor", To: 9004}}}}
	return job.AddTaskGroup(visitor)
}

// staticPort is a port of the host outside of Nomad's range of dynamic ports.
const staticPort = 18002

func TestGroup_GuestsAndProcessesShareTheAddress(t *testing.T) {
	needRootAndTun(t)
	t.Parallel()
	groups := startGroups(t, nomad, sharedGroup(t))
	a, visitor := groups["members"], groups["visitor"]
	names := map[int]string{9001: "first", 9002: "second", 9003: "neighbor"}
	for _, name := range names {
		a.awaitMember(t, name, name) // from outside, through the mapped port
	}
	visitor.awaitMember(t, "visitor", "visitor")
	must.StrHasSuffix(t, fmt.Sprint(":", staticPort), a.address(t, "second"))
	ip := a.ip(t)
	for _, guest := range []string{"first", "second", "httpd"} {
		a.of(guest).awaitMessage(t, ip+" (mode shared, interface eth0)")
	}

	t.Run("from member to member", func(t *testing.T) { a.requireNeighbors(t, names) })
	t.Run("to itself", func(t *testing.T) {
		for port, name := range names {
			a.requireFetch(t, name, "127.0.0.1", port, name)
			a.requireFetch(t, name, ip, port, name)
		}
	})
	t.Run("to a guest without an operating system", func(t *testing.T) {
		for _, name := range names {
			a.requireFetch(t, name, "127.0.0.1", 8080, "httpd on Solo5")
			a.requireFetch(t, name, ip, 8080, "httpd on Solo5")
		}
	})
	t.Run("from another alloc", func(t *testing.T) {
		for port, name := range names {
			visitor.requireFetch(t, "visitor", ip, port, name)
			visitor.requireDatagram(t, "visitor", ip, port, name)
		}
		visitor.requireFetch(t, "visitor", ip, 8080, "httpd on Solo5")
	})
	t.Run("to another alloc", func(t *testing.T) {
		for _, name := range names {
			a.requireFetch(t, name, visitor.ip(t), 9004, "visitor")
			a.requireDatagram(t, name, visitor.ip(t), 9004, "visitor")
		}
	})
	for _, task := range []string{"first", "neighbor"} {
		t.Run("restart of "+task, func(t *testing.T) { a.requireServiceDuringRestart(t, task, names) })
	}
}

// requireNeighbors requires that each member reaches the others on 127.0.0.1 and at the
// alloc's address.
func (a *alloc) requireNeighbors(t *testing.T, names map[int]string) {
	t.Helper()
	for _, from := range names {
		for to, name := range names {
			if name == from {
				continue
			}
			for _, address := range []string{"127.0.0.1", a.ip(t)} {
				a.requireFetch(t, from, address, to, name)
				a.requireDatagram(t, from, address, to, name)
			}
			a.requireFetch(t, from, "127.0.0.1", to+10, name)
			a.requireDatagram(t, from, "127.0.0.1", to+10, name)
		}
	}
}

// requireServiceDuringRestart restarts a task of the shared group. The other tasks must
// answer all requests, from outside and to each other.
func (a *alloc) requireServiceDuringRestart(t *testing.T, task string, names map[int]string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var requests []func() error
	for _, from := range names {
		if from == task {
			continue
		}
		requests = append(requests, func() error { return expect(from)(a.ask(t, from, "/")) })
		for port, to := range names {
			if to != task && to != from {
				url := fmt.Sprintf("http://127.0.0.1:%d/", port)
				requests = append(requests, func() error { return expect(to)(a.ask(t, from, "/fetch", "url", url)) })
			}
		}
	}
	counts, errs := make([]int, len(requests)), make([]error, len(requests))
	var all sync.WaitGroup
	for i, request := range requests {
		all.Go(func() {
			for ; ctx.Err() == nil && errs[i] == nil; counts[i]++ {
				errs[i] = request()
			}
		})
	}
	must.NoError(t, a.refresh())
	before := a.TaskStates
	must.NoError(t, nomad.API.Allocations().Restart(a.Allocation, task, nil))
	restarted := a.of(task)
	restarted.awaitRestarts(t, before[task].Restarts+1)
	restarted.awaitMember(t, task, task)
	cancel()
	all.Wait()
	for i, err := range errs {
		must.NoError(t, err)
		must.Positive(t, counts[i])
	}
	must.NoError(t, a.refresh())
	for name, state := range a.TaskStates {
		must.Eq(t, name == task, state.Restarts > before[name].Restarts, must.Sprint(name))
	}
}

// expect returns a function that returns an error unless the answer is the text.
func expect(text string) func(string, error) error {
	return func(answer string, err error) error {
		if err == nil && answer != text {
			err = fmt.Errorf("the answer is %q, not %q", answer, text)
		}
		return err
	}
}

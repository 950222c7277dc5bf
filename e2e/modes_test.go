// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"net"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv/cluster"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv/sandbox"
)

// hostModePort is a port of the host outside of Nomad's range of dynamic ports.
const hostModePort = 18003

// hostMode returns a job whose guest listens on two ports in host mode: one with the
// same number on the host, and one with another number at two addresses of the host.
func hostMode(t *testing.T, provider string) *api.Job {
	t.Helper()
	task := memberGuest(t, "guest", "0.0.0.0:"+strconv.Itoa(hostModePort), "0.0.0.0:9001")
	for _, mode := range []string{"auto", "host", "driver"} {
		task.Services = append(task.Services, checked("host-mode-"+provider+"-"+mode, provider, mode))
	}
	job := members(t, task)
	job.TaskGroups[0].Networks = []*api.NetworkResource{{
		Mode: "host",
		DynamicPorts: []api.Port{
			{Label: "web", To: 9001},
			{Label: "second", To: 9001, HostNetwork: cluster.SecondNetwork},
		},
	}}
	return job
}

func TestHostMode_PortsLeadToTheGuest(t *testing.T) {
	needRootAndTun(t)
	t.Parallel()
	job := hostMode(t, "consul")
	job.TaskGroups[0].Networks[0].ReservedPorts = []api.Port{{Label: "static", Value: hostModePort}}
	a := run(t, nomad, job)
	must.Eq(t, net.JoinHostPort(sandbox.Address, strconv.Itoa(hostModePort)), a.address(t, "static"))
	must.StrHasPrefix(t, sandbox.SecondAddress+":", a.address(t, "second"))
	for _, label := range []string{"static", "web", "second"} {
		a.awaitMember(t, label, "guest")
	}
	// A port of one address does not lead to the guest at another one.
	_, port, _ := strings.Cut(a.address(t, "second"), ":")
	_, err := net.Dial("tcp", net.JoinHostPort(sandbox.Address, port))
	must.Error(t, err)

	// The guest reaches servers at the addresses of the host, except for loopback.
	a.requireFetch(t, "web", sandbox.Address, hostModePort, "guest")
	answer, err := a.ask(t, "web", "/fetch", "url", nomad.Address+"/v1/status/leader")
	must.Error(t, err, must.Sprint("the guest reaches the loopback address of the host: ", answer))
}

func TestHostMode_ServicesHaveTheAddressOfTheirMode(t *testing.T) {
	needRootAndTun(t)
	t.Parallel()
	for provider, find := range map[string]func(name string) ([]string, error){
		"consul": consulServices, "nomad": nomadServices,
	} {
		t.Run(provider, func(t *testing.T) {
			t.Parallel()
			a := run(t, nomad, hostMode(t, provider))
			if provider == "nomad" {
				a.awaitChecks(t)
			}
			requireService(t, find, "host-mode-"+provider+"-auto", a.address(t, "web"))
			requireService(t, find, "host-mode-"+provider+"-host", a.address(t, "web"))
			a.requireDriverService(t, find, "host-mode-"+provider+"-driver")
		})
	}
}

// requireDriverService requires that a service has the address of the guest's link.
func (a *alloc) requireDriverService(t *testing.T, find func(name string) ([]string, error), name string) {
	t.Helper()
	message := a.findEvent(t, api.TaskDriverMessage, "(mode host").DisplayMessage
	found := regexp.MustCompile(`has (\S+)(?: and \S+)? \(mode host`).FindStringSubmatch(message)
	must.Len(t, 2, found, must.Sprint(message))
	requireService(t, find, name, net.JoinHostPort(found[1], "9001"))
}

// A group without a network block is in host mode, too.
func TestHostMode_GroupWithoutNetworkBlock(t *testing.T) {
	needRootAndTun(t)
	t.Parallel()
	server := withPort(members(t, memberProcess(t, "server", "0.0.0.0:9001")), "server", 9001)
	outside := run(t, nomad, renamed(server, "-server"))
	outside.awaitMember(t, "server", "server")
	url := "http://" + outside.address(t, "server") + "/"
	job := members(t, oneRequest(memberGuest(t, "client"), url))
	job.Type = ptr(api.JobTypeBatch)
	job.TaskGroups[0].Networks = nil
	a := start(t, nomad, job)
	a.await(t, api.AllocClientStatusComplete)
	a.awaitLog(t, "the answer: server\n")
}

func TestL2_GuestServesAndASecondOneIsRefused(t *testing.T) {
	needRootAndTun(t)
	t.Parallel()
	guest := func(name, listen string) *api.Task {
		return memberGuest(t, name, listen).SetConfig("network_mode", "l2")
	}
	job := withPort(members(t, guest("alone", "0.0.0.0:9001")), "alone", 9001)
	run(t, nomad, job).awaitMember(t, "alone", "alone")

	second := guest("second", "0.0.0.0:9002")
	second.Lifecycle = &api.TaskLifecycle{Hook: api.TaskLifecycleHookPoststart, Sidecar: true}
	a := start(t, nomad, renamed(members(t, guest("first", "0.0.0.0:9001"), second), "-pair"))
	a.await(t, api.AllocClientStatusFailed)
	event := a.of("second").awaitEvent(t, api.TaskDriverFailure)
	must.StrContains(t, event.DisplayMessage, `the task "first" of this group has taken over the same interface`)
}

// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"fmt"
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// checked returns a service of the port web, with a check by HTTP and another one by TCP.
func checked(name, provider, addressMode string) *api.Service {
	service := &api.Service{Name: name, PortLabel: "web", Provider: provider, AddressMode: addressMode}
	for _, kind := range []string{"http", "tcp"} {
		check := api.ServiceCheck{
			Name: name + "-" + kind, Type: kind, Path: "/", Interval: time.Second, Timeout: time.Second,
		}
		// Nomad refuses the other combinations.
		if addressMode != "auto" && (addressMode != "driver" || provider == "consul") {
			check.AddressMode = addressMode
		}
		service.Checks = append(service.Checks, check)
	}
	return service
}

func TestServices_HaveTheAddressOfTheirMode(t *testing.T) {
	needRootAndTun(t)
	t.Parallel()
	for provider, find := range map[string]func(name string) ([]string, error){
		"consul": consulServices, "nomad": nomadServices,
	} {
		t.Run(provider, func(t *testing.T) {
			t.Parallel()
			name := func(mode string) string { return "address-" + provider + "-" + mode }
			task := memberGuest(t, "guest", "0.0.0.0:9001").SetConfig("ports", []string{"web"})
			job := withPort(members(t, task), "web", 9001)
			for _, mode := range []string{"auto", "host", "driver"} {
				task.Services = append(task.Services, checked(name(mode), provider, mode))
			}
			job.TaskGroups[0].Services = []*api.Service{checked(name("alloc"), provider, "alloc")}
			a := run(t, nomad, job)
			if provider == "nomad" {
				a.awaitChecks(t)
			}
			outside, inside := a.address(t, "web"), net.JoinHostPort(a.ip(t), "9001")
			requireService(t, find, name("auto"), outside)
			requireService(t, find, name("host"), outside)
			requireService(t, find, name("alloc"), inside)
			requireService(t, find, name("driver"), inside)
		})
	}
}

// requireService requires that find returns one address, and that the guest answers there.
func requireService(t *testing.T, find func(name string) ([]string, error), name, address string) {
	t.Helper()
	must.Wait(t, testenv.Eventually(func() error {
		found, err := find(name)
		if err == nil && len(found) == 0 {
			err = fmt.Errorf("%s is not a healthy service", name)
		}
		if err == nil {
			must.Eq(t, []string{address}, found, must.Sprint(name))
		}
		return err
	}))
	answer, err := askAt(address, "/")
	must.NoError(t, err)
	must.Eq(t, "guest", answer)
}

// consulServices returns the addresses of a service whose checks succeed in Consul.
func consulServices(name string) ([]string, error) {
	entries, _, err := consul.API.Health().Service(name, "", true, nil)
	var addresses []string
	for _, entry := range entries {
		addresses = append(addresses, net.JoinHostPort(entry.Service.Address, strconv.Itoa(entry.Service.Port)))
	}
	return addresses, err
}

// nomadServices returns the addresses of a service in Nomad, which keeps the results of
// checks elsewhere.
func nomadServices(name string) ([]string, error) {
	entries, _, err := nomad.API.Services().Get(name, nil)
	var addresses []string
	for _, entry := range entries {
		addresses = append(addresses, net.JoinHostPort(entry.Address, strconv.Itoa(entry.Port)))
	}
	return addresses, err
}

func TestCheckRestart_RestartsAGuestThatStopsAnswering(t *testing.T) {
	needRootAndTun(t)
	t.Parallel()
	for _, provider := range []string{"consul", "nomad"} {
		t.Run(provider, func(t *testing.T) {
			t.Parallel()
			service := checked("hangs-in-"+provider, provider, "auto")
			service.Checks = service.Checks[:1] // the kernel still accepts connections
			service.Checks[0].CheckRestart = &api.CheckRestart{Limit: 3, Grace: ptr(8 * time.Second)}
			task := memberGuest(t, "guest", "0.0.0.0:9001")
			task.Services = []*api.Service{service}
			job := withPort(members(t, task), "web", 9001)
			job.TaskGroups[0].RestartPolicy = &api.RestartPolicy{
				Attempts: ptr(20), Interval: ptr(time.Hour), Delay: ptr(time.Second), Mode: ptr("fail"),
			}
			a := run(t, nomad, job)
			a.awaitMember(t, "web", "guest")
			_, err := a.ask(t, "web", "/hang")
			must.NoError(t, err)
			a.awaitRestarts(t, 1)
			must.StrContains(t, a.awaitEvent(t, api.TaskRestartSignal).DisplayMessage, "healthcheck")
			a.awaitMember(t, "web", "guest")
		})
	}
}

// SPDX-License-Identifier: MPL-2.0

package fingerprint

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/hostcheck"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// workingHost is a host on which every probe succeeds.
func workingHost() hostcheck.Host {
	succeed := func() error { return nil }
	return hostcheck.Host{
		Supported: succeed, StateDir: succeed, Executor: succeed, KVM: succeed, Tap: succeed, Ext4: succeed,
		Landlock: succeed, Sharing: succeed, HostNetwork: succeed,
		SPT:    func(context.Context) error { return nil },
		Cgroup: func() (string, error) { return "v2", nil },
	}
}

func attributes(f *drivers.Fingerprint) map[string]string {
	m := make(map[string]string, len(f.Attributes))
	for name, a := range f.Attributes {
		m[name] = a.GoString()
	}
	return m
}

func TestRead_ReportsAttributes(t *testing.T) {
	f := Read(context.Background(), "1.2.3", workingHost())
	must.Eq(t, drivers.HealthStateHealthy, f.Health)
	must.Eq(t, drivers.DriverHealthy, f.HealthDescription)
	must.Eq(t, map[string]string{
		"driver.lkl":          "true",
		"driver.lkl.version":  "1.2.3",
		"driver.lkl.abi":      "1,2",
		"driver.lkl.spt":      "true",
		"driver.lkl.kvm":      "true",
		"driver.lkl.tap":      "true",
		"driver.lkl.ext4":     "true",
		"driver.lkl.landlock": "true",
		"driver.lkl.shared":   "true",

		"driver.lkl.host_network": "true",
		"driver.lkl.cgroup":       "v2",
	}, attributes(f))
}

func TestRead_FaultsDetermineHealth(t *testing.T) {
	fault := func() error { return errors.New("the fault") }
	cases := []struct {
		name      string
		host      func(*hostcheck.Host)
		health    drivers.HealthState
		attribute string // expected to be false
	}{
		{"another machine", func(h *hostcheck.Host) { h.Supported = fault }, drivers.HealthStateUndetected, ""},
		{"no state directory", func(h *hostcheck.Host) { h.StateDir = fault }, drivers.HealthStateUnhealthy, ""},
		{"no executor", func(h *hostcheck.Host) { h.Executor = fault }, drivers.HealthStateUnhealthy, ""},
		{
			"no spt", func(h *hostcheck.Host) { h.SPT = func(context.Context) error { return fault() } },
			drivers.HealthStateUnhealthy, "driver.lkl.spt",
		},
		{
			"no cgroups", func(h *hostcheck.Host) { h.Cgroup = func() (string, error) { return "", fault() } },
			drivers.HealthStateUnhealthy, "",
		},
		{"no tap", func(h *hostcheck.Host) { h.Tap = fault }, drivers.HealthStateHealthy, "driver.lkl.tap"},
		{"no sharing", func(h *hostcheck.Host) { h.Sharing = fault }, drivers.HealthStateHealthy, "driver.lkl.shared"},
		{"no host network", func(h *hostcheck.Host) { h.HostNetwork = fault }, drivers.HealthStateHealthy, "driver.lkl.host_network"},
		{"no ext4", func(h *hostcheck.Host) { h.Ext4 = fault }, drivers.HealthStateHealthy, "driver.lkl.ext4"},
		{"no Landlock", func(h *hostcheck.Host) { h.Landlock = fault }, drivers.HealthStateHealthy, "driver.lkl.landlock"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			host := workingHost()
			c.host(&host)
			f := Read(context.Background(), "1", host)
			must.Eq(t, c.health, f.Health)
			must.StrContains(t, f.HealthDescription, "the fault")
			if c.attribute != "" {
				must.Eq(t, "false", attributes(f)[c.attribute])
			}
			if c.health == drivers.HealthStateUndetected {
				must.MapEmpty(t, f.Attributes)
			}
		})
	}
}

func TestRead_DoesNotDescribeForbiddenHostNetwork(t *testing.T) {
	host := workingHost()
	host.HostNetwork = func() error { return hostcheck.ErrForbidden }
	f := Read(context.Background(), "1", host)
	must.Eq(t, drivers.DriverHealthy, f.HealthDescription)
	must.Eq(t, "false", attributes(f)["driver.lkl.host_network"])
}

func TestRead_NamesOneReasonWithoutTaps(t *testing.T) {
	host := workingHost()
	fault := func() error { return errors.New("no tun") }
	host.Tap, host.Sharing, host.HostNetwork = fault, fault, fault
	f := Read(context.Background(), "1", host)
	must.Eq(t, drivers.DriverHealthy+"; guests with a network cannot run: no tun", f.HealthDescription)
}

func TestRead_IsHealthyWithoutKVM(t *testing.T) {
	host := workingHost()
	host.KVM = func() error { return errors.New("no KVM") }
	f := Read(context.Background(), "1", host)
	must.Eq(t, drivers.HealthStateHealthy, f.Health)
	must.Eq(t, "false", attributes(f)["driver.lkl.kvm"])
}

func TestWatch_SendsOnlyChanges(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	states := make(chan error) // one for each read
	wake := make(chan struct{})
	read := func(ctx context.Context) *drivers.Fingerprint {
		host := workingHost()
		select {
		case err := <-states:
			host.Tap = func() error { return err }
		case <-ctx.Done():
		}
		return Read(ctx, "1", host)
	}
	out := Watch(ctx, hclog.NewNullLogger(), time.Hour, wake, read)

	states <- nil
	must.Eq(t, "true", attributes(testenv.Receive(t, out))["driver.lkl.tap"])
	wake <- struct{}{}
	states <- nil // unchanged: nothing is sent
	wake <- struct{}{}
	states <- errors.New("gone")
	must.Eq(t, "false", attributes(testenv.Receive(t, out))["driver.lkl.tap"])

	cancel()
	for f := range out { // ends when Watch closes the channel
		must.NotNil(t, f)
	}
}

func TestWatch_ReadsEveryPeriod(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	reads := 0
	out := Watch(ctx, hclog.NewNullLogger(), time.Millisecond, nil, func(context.Context) *drivers.Fingerprint {
		reads++
		return &drivers.Fingerprint{Health: drivers.HealthStateHealthy, HealthDescription: string(rune('a' + reads%26))}
	})
	first := testenv.Receive(t, out)
	must.NotEq(t, first.HealthDescription, testenv.Receive(t, out).HealthDescription)
}

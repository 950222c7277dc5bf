// SPDX-License-Identifier: MPL-2.0

package matrix

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/hashicorp/nomad/helper/uuid"
	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/driver"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// combinations are the columns of the matrix.
var combinations = []struct {
	name     string
	families []*family
}{
	{"IPv4 only", []*family{ipv4}},
	{"IPv6 only", []*family{ipv6}},
	{"both", []*family{ipv4, ipv6}},
}

// group is the network of a group with a namespace.
func group(n *namespace) *drivers.NetworkIsolationSpec {
	return &drivers.NetworkIsolationSpec{Mode: drivers.NetIsolationModeGroup, Path: n.path()}
}

// resolvers are the name servers of a task.
func resolvers(families []*family) *drivers.DNSConfig {
	dns := &drivers.DNSConfig{}
	for _, f := range families {
		dns.Servers = append(dns.Servers, f.far)
	}
	return dns
}

func allocAddress(f *family) string { return f.alloc }

func TestL2(t *testing.T) {
	t.Parallel()
	for _, columns := range combinations {
		t.Run(columns.name, func(t *testing.T) {
			t.Parallel()
			d := newDriver(t, driver.Config{})
			n := newTopology(t, newNamespace(t), columns.families)
			g := start(t, spec{
				name: "web", driver: d, network: group(n.alloc), dns: resolvers(n.families),
				ports: groupPorts("", map[string]guestPorts{"web": firstPorts}), serves: firstPorts,
				job: driver.TaskConfig{NetworkMode: "l2"},
			})
			c := &cell{topology: n, guest: g, ports: firstPorts, address: allocAddress}
			c.run(t)
		})
	}
}

// Two guests share the address of their group with processes in its namespace.
func TestShared(t *testing.T) {
	t.Parallel()
	for _, columns := range combinations {
		t.Run(columns.name, func(t *testing.T) {
			t.Parallel()
			d := newDriver(t, driver.Config{})
			n := newTopology(t, newNamespace(t), columns.families)
			common := spec{
				alloc: uuid.Generate(), driver: d, network: group(n.alloc), dns: resolvers(n.families),
				ports: groupPorts("", map[string]guestPorts{"web": firstPorts, "api": secondPorts}),
			}
			startShared := func(name string, p guestPorts) *cell {
				s := common
				s.name, s.serves = name, p
				s.job = driver.TaskConfig{NetworkMode: "shared", Ports: p.labels(name)}
				return &cell{topology: n, guest: start(t, s), ports: p, address: allocAddress}
			}
			first, second := startShared("web", firstPorts), startShared("api", secondPorts)
			first.run(t)
			runSharing(t, first, second)
		})
	}
}

// A guest without the option ports has every port that no neighbor uses.
func TestShared_Rest(t *testing.T) {
	t.Parallel()
	d := newDriver(t, driver.Config{})
	n := newTopology(t, newNamespace(t), []*family{ipv4, ipv6})
	g := start(t, spec{
		name: "web", driver: d, network: group(n.alloc), dns: resolvers(n.families), serves: firstPorts,
		job: driver.TaskConfig{NetworkMode: "shared"},
	})
	c := &cell{topology: n, guest: g, ports: firstPorts, address: allocAddress}
	c.run(t)
}

// Each column has a separate host.
func TestHost(t *testing.T) {
	t.Parallel()
	for _, columns := range combinations {
		t.Run(columns.name, func(t *testing.T) {
			t.Parallel()
			if !enterHost(t) {
				return
			}
			d := newDriver(t, driver.Config{HostNetwork: driver.HostNetwork{Enabled: true, Subnet6: "fd26:80::/64"}})
			n := newTopology(t, ownNamespace(t), columns.families)
			g := start(t, spec{
				name: "web", driver: d, dns: resolvers(n.families),
				ports: groupPorts("", map[string]guestPorts{"web": firstPorts}), serves: firstPorts,
			})
			c := &cell{topology: n, guest: g, ports: firstPorts, address: allocAddress}
			c.run(t)
		})
	}
}

// inHost is set in the environment of a test in a network namespace that stands for a host.
const inHost = "LKL_TEST_IN_HOST"

// enterHost runs the test again in a new process with a new network namespace. It returns
// true there. In the original process it returns false when the new one has ended.
func enterHost(t *testing.T) bool {
	t.Helper()
	testenv.Need(t, testenv.Root)
	if os.Getenv(inHost) != "" {
		return true
	}
	parts := strings.Split(t.Name(), "/")
	for i, p := range parts {
		parts[i] = "^" + regexp.QuoteMeta(p) + "$"
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run="+strings.Join(parts, "/"), "-test.v", "-test.timeout=10m")
	cmd.Env = append(os.Environ(), inHost+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	out, err := cmd.CombinedOutput()
	must.NoError(t, err, must.Sprintf("the test in the namespace:\n%s", out))
	if strings.Contains(string(out), "--- SKIP") {
		t.Skipf("%s", out)
	}
	return false
}

// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/nomad/nomad/structs"
	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"
	"github.com/vishvananda/netlink"

	"github.com/lkl-nomad/nomad-driver-lkl/network"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv/netstate"
)

// inOwnNetwork runs the test in another process, whose network namespace stands for the
// host's: in host mode, the plugin changes the namespace in which it runs. The result
// is false in the first process, which must return.
func inOwnNetwork(t *testing.T) bool {
	t.Helper()
	testenv.Need(t, testenv.Root, testenv.Tun)
	const mark = "LKL_TEST_NETWORK"
	if os.Getenv(mark) == t.Name() {
		return true
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run", "^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), mark+"="+t.Name())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s\n%v", out, err)
	}
	must.StrContains(t, string(out), "--- PASS: "+t.Name())
	return false
}

// A leakTest has namespaces for guests in every network mode.
type leakTest struct {
	plugin *testPlugin
	allocs map[networkMode]*testNetwork
	port   int // of the host, for the next guest
}

const leakHostIP = "10.79.0.2"

// newLeakTest prepares the process's own namespace as that of a host.
func newLeakTest(t *testing.T) *leakTest {
	config := Config{
		StateDir: t.TempDir(), ImagePaths: []string{guestDir(t)},
		HostNetwork: HostNetwork{Enabled: true, Subnet6: network.DefaultHostSubnet6.String()},
	}
	l := &leakTest{plugin: newLoggedPlugin(t, config, hclog.NewNullLogger()), port: 20000, allocs: map[networkMode]*testNetwork{
		modeL2: newTestNetwork(t), modeShared: newTestNetwork(t),
	}}
	addUplink(t)
	return l
}

// addUplink connects the process's own namespace to a peer.
func addUplink(t testing.TB) {
	peer, h := newNamespace(t), new(netlink.Handle)
	must.NoError(t, h.LinkAdd(&netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: "uplink"}, PeerName: "peer", PeerNamespace: netlink.NsFd(peer.Fd()),
	}))
	link := addAddress(t, h, "uplink", leakHostIP+"/24")
	addAddress(t, h, "lo", "127.0.0.1/8")
	within(t, peer, func(h *netlink.Handle) { addAddress(t, h, "peer", "10.79.0.1/24") })
	must.NoError(t, h.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Gw: net.ParseIP("10.79.0.1")}))
}

// state describes all namespaces.
func (l *leakTest) state(t *testing.T) (lines []string) {
	t.Helper()
	add := func(name string) {
		found, err := netstate.Describe()
		must.NoError(t, err)
		for _, line := range found {
			lines = append(lines, name+": "+line)
		}
	}
	add("host")
	for _, mode := range []networkMode{modeL2, modeShared} {
		within(t, l.allocs[mode].alloc, func(*netlink.Handle) { add(string(mode)) })
	}
	return lines
}

// start starts a guest in a mode.
func (l *leakTest) start(t *testing.T, mode networkMode) *drivers.TaskHandle {
	t.Helper()
	l.port++
	port := structs.AllocatedPortMapping{Label: "http", Value: l.port, To: l.port}
	job := TaskConfig{Kernel: "httpd.spt", Flavor: "lkl", Args: []string{fmt.Sprint("port=", l.port)}}
	task := l.plugin.task(t, job, false)
	task.StdoutPath, task.StderrPath = os.DevNull, os.DevNull
	switch mode {
	case modeNone:
		job.NetworkMode = string(modeNone)
	case modeHost:
		port.HostIP = leakHostIP
		task.Resources.Ports = &structs.AllocatedPorts{port}
	default:
		job.NetworkMode, job.Ports = string(mode), []string{"http"}
		task.NetworkIsolation = l.allocs[mode].spec()
		task.Resources.Ports = &structs.AllocatedPorts{port}
	}
	configure(t, task, job)
	handle, _, err := l.plugin.StartTask(task)
	must.NoError(t, err)
	return handle
}

// end ends a guest in one of several ways. Some leave the clean-up to a later call.
func (l *leakTest) end(t *testing.T, handle *drivers.TaskHandle) {
	t.Helper()
	state := stateOf(t, handle)
	switch rand.IntN(4) {
	case 0:
		must.NoError(t, l.plugin.StopTask(handle.Config.ID, time.Minute, "SIGKILL"))
	case 1:
		_ = state.Guest.Signal(syscall.SIGKILL) // it may have ended already
	case 2:
		_ = state.Executor.Signal(syscall.SIGKILL)
	}
}

// Guests in every mode start and end, and guests, executors and plugins are killed.
// Nothing in any namespace differs afterwards.
func TestNetwork_LeavesNoTrace(t *testing.T) {
	if !inOwnNetwork(t) {
		return
	}
	l := newLeakTest(t)
	before := l.state(t)
	modes := []networkMode{modeL2, modeShared, modeShared, modeHost, modeHost, modeNone}
	const rounds = 34 // of 6 guests each
	for round := range rounds {
		var handles []*drivers.TaskHandle
		for _, mode := range modes {
			handles = append(handles, l.start(t, mode))
		}
		must.NotEq(t, before, l.state(t))
		rand.Shuffle(len(handles), func(i, j int) { handles[i], handles[j] = handles[j], handles[i] })
		for i, h := range handles {
			if i == round%12 { // in every other round
				l.plugin.kill()
				l.plugin = newLoggedPlugin(t, l.plugin.config, hclog.NewNullLogger())
				for _, h := range handles {
					_ = l.plugin.RecoverTask(h) // removes a task whose executor was killed
				}
			}
			l.end(t, h)
		}
		for _, h := range handles {
			if err := l.plugin.DestroyTask(h.Config.ID, true); err != nil {
				must.ErrorContains(t, err, drivers.ErrTaskNotFound.Error())
			}
			noTrace(t, h)
		}
	}
	must.Eq(t, before, l.state(t))
}

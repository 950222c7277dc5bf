// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/nomad/helper/uuid"
	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv/ext4"
)

// linux prepares a task that runs a C program of testdata on Linux, with a network
// and an empty root disk.
func (p *testPlugin) linux(t *testing.T, program string, job TaskConfig) *drivers.TaskConfig {
	t.Helper()
	return p.linuxIn(t, newTestNetwork(t), program, job)
}

func (p *testPlugin) linuxIn(t *testing.T, n *testNetwork, program string, job TaskConfig) *drivers.TaskConfig {
	t.Helper()
	task := p.taskOf(t, uuid.Generate(), "web", true)
	task.NetworkIsolation = n.spec()
	compileLinux(t, task, program, job)
	return task
}

// compileLinux makes a task run a C program on Linux.
func compileLinux(t *testing.T, task *drivers.TaskConfig, program string, job TaskConfig) {
	t.Helper()
	job.Kernel, job.Rootfs, job.RootfsSize = "local/kernel", "local/root", "32MiB"
	task.Env["NOMAD_ALLOC_ID"] = task.AllocID
	local := task.TaskDir().LocalDir
	must.NoError(t, exec.Command("mkdir", "-p", filepath.Join(local, "root", "srv")).Run())
	out, err := exec.Command(testenv.Guest(t, "lkl-cc"), "-O1", "-o", filepath.Join(local, "kernel"),
		filepath.Join("testdata", program)).CombinedOutput()
	must.NoError(t, err, must.Sprint(string(out)))
	must.NoError(t, task.EncodeConcreteDriverConfig(&job))
}

func (p *testPlugin) startLinux(t *testing.T, task *drivers.TaskConfig) *drivers.TaskHandle {
	t.Helper()
	handle, _, err := p.StartTask(task)
	must.NoError(t, err)
	waitForLine(t, task, "ready")
	return handle
}

func TestLinux_SignalsReachTheProgram(t *testing.T) {
	p := newTestPlugin(t)
	task := p.linux(t, "signals.c", TaskConfig{Args: []string{"two words", `"\`, ""}})
	handle := p.startLinux(t, task)
	must.True(t, stateOf(t, handle).Control)
	waitForLine(t, task, "arg1=[two words]\narg2=[\"\\]\narg3=[]")
	waitForLine(t, task, "host="+defaultHostname(task)+" uid=0 gid=0 cwd=/ alloc="+task.AllocID)
	for _, name := range []string{"SIGHUP", "SIGUSR1", "SIGWINCH"} {
		must.NoError(t, p.SignalTask(task.ID, name))
	}
	waitForLine(t, task, "signal=1\nsignal=10\nsignal=28")

	must.NoError(t, p.StopTask(task.ID, time.Minute, ""))
	result := p.wait(t, task)
	must.Eq(t, 7, result.ExitCode, must.Sprint(console(task)))
	must.Eq(t, 0, result.Signal)
	waitForLine(t, task, "signal=15")

	image := filepath.Join(stateOf(t, handle).Dir, diskFile)
	must.NoError(t, ext4.Check(image))
	content, err := ext4.ReadFile(image, "/written")
	must.NoError(t, err)
	must.Eq(t, "kept\n", string(content))
	must.NoError(t, p.DestroyTask(task.ID, false))
	noTrace(t, handle)
}

func TestLinux_ProgramHasUserAndWorkDir(t *testing.T) {
	p := newTestPlugin(t)
	task := p.linux(t, "signals.c", TaskConfig{WorkDir: "/local"})
	task.User = "1000:100"
	p.startLinux(t, task)
	waitForLine(t, task, "host="+defaultHostname(task)+" uid=1000 gid=100 cwd=/local alloc="+task.AllocID)
	must.NoError(t, p.StopTask(task.ID, time.Minute, ""))
	path := filepath.Join(task.TaskDir().LocalDir, "written") // anyone may write to the directory
	content, err := os.ReadFile(path)
	must.NoError(t, err)
	must.Eq(t, "kept\n", string(content))
	info, err := os.Stat(path)
	must.NoError(t, err)
	stat, ok := info.Sys().(*syscall.Stat_t)
	must.True(t, ok)
	must.Eq(t, []uint32{1000, 100}, []uint32{stat.Uid, stat.Gid})
}

func TestLinux_SysctlAndKernelLog(t *testing.T) {
	p := newTestPlugin(t)
	plain := p.linux(t, "signals.c", TaskConfig{})
	p.startLinux(t, plain)
	waitForLine(t, plain, "ttl=64")
	must.StrNotContains(t, console(plain), "Linux version")

	c := newTestPlugin(t)
	task := c.linux(t, "signals.c", TaskConfig{
		KernelLog: true, Sysctl: []map[string]string{{"net.ipv4.ip_default_ttl": "99"}},
	})
	c.startLinux(t, task)
	waitForLine(t, task, "ttl=99")
	must.StrContains(t, console(task), "Linux version")
}

// With rootfs_sync = "flush" the guest sees a disk with a write cache.
func TestLinux_RootfsSync(t *testing.T) {
	for sync, c := range map[string]struct {
		disk    string
		through bool
	}{
		"":               {"write through", false},
		syncNone:         {"write through", false},
		syncFlush:        {"write back", false},
		syncWriteThrough: {"write through", true},
	} {
		t.Run(sync, func(t *testing.T) {
			p := newTestPlugin(t)
			task := p.linux(t, "signals.c", TaskConfig{RootfsSync: sync})
			handle := p.startLinux(t, task)
			waitForLine(t, task, "disk="+c.disk)
			must.StrNotContains(t, console(task), "written:") // the output of perror
			const rootfs = 5                                  // the first device of the manifest: docs/tender.md
			info, err := os.ReadFile(fmt.Sprintf("/proc/%d/fdinfo/%d", stateOf(t, handle).Guest.Pid, rootfs))
			must.NoError(t, err)
			var position, flags int
			_, err = fmt.Sscanf(string(info), "pos: %d\nflags: %o", &position, &flags)
			must.NoError(t, err)
			must.Eq(t, c.through, flags&unix.O_DSYNC != 0)
			must.NoError(t, p.StopTask(task.ID, time.Minute, ""))
			must.Eq(t, 7, p.wait(t, task).ExitCode)
		})
	}
}

func TestLinux_HasTheAllocsIPv6Address(t *testing.T) {
	p := newTestPlugin(t)
	n := newTestNetwork(t)
	const own, router = "fd00:78::5", "fd00:78::1"
	within(t, n.peer, func(h *netlink.Handle) { addAddress(t, h, "peer", router+"/64") })
	within(t, n.alloc, func(h *netlink.Handle) {
		link := addAddress(t, h, "eth9", own+"/64")
		must.NoError(t, h.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Gw: net.ParseIP(router)}))
	})
	p.startLinux(t, p.linuxIn(t, n, "signals.c", TaskConfig{}))
	// The guest refuses the connection, because no program listens.
	for _, address := range []string{own, allocIP} {
		waitFor(t, "an answer of "+address, func() (refused bool) {
			within(t, n.peer, func(*netlink.Handle) {
				_, err := net.DialTimeout("tcp", net.JoinHostPort(address, "9"), time.Second)
				refused = errors.Is(err, syscall.ECONNREFUSED)
			})
			return refused
		})
	}
}

func TestLinux_StopKillsAfterTimeout(t *testing.T) {
	p := newTestPlugin(t)
	task := p.linux(t, "signals.c", TaskConfig{})
	p.startLinux(t, task)
	began := time.Now()
	must.NoError(t, p.StopTask(task.ID, 500*time.Millisecond, "SIGINT"))
	must.GreaterEq(t, 500*time.Millisecond, time.Since(began))
	waitForLine(t, task, "signal=2")
	result := p.wait(t, task)
	must.Eq(t, 9, result.Signal)
	must.ErrorContains(t, result.Err, "did not stop in time")
}

func TestLinux_EachStartHasAnotherSeed(t *testing.T) {
	seen := map[string]bool{}
	for range 2 {
		p := newTestPlugin(t)
		task := p.linux(t, "signals.c", TaskConfig{})
		p.startLinux(t, task)
		_, random, _ := strings.Cut(console(task), "random=")
		random, _, _ = strings.Cut(random, "\n")
		must.NotEq(t, "", random)
		must.False(t, seen[random])
		seen[random] = true
		must.NoError(t, p.StopTask(task.ID, time.Minute, ""))
	}
}

// The alloc has further routes, as in some CNI networks.
func TestLinux_HasTheAllocsRoutes(t *testing.T) {
	p := newTestPlugin(t)
	n := newTestNetwork(t)
	within(t, n.alloc, func(h *netlink.Handle) {
		link, err := h.LinkByName("eth9")
		must.NoError(t, err)
		route := func(to, via string) *netlink.Route {
			dst, err := netlink.ParseIPNet(to)
			must.NoError(t, err)
			r := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: dst, Gw: net.ParseIP(via)}
			if via == "" {
				r.Scope = netlink.SCOPE_LINK
			}
			return r
		}
		must.NoError(t, h.RouteDel(route("0.0.0.0/0", peerIP)))
		must.NoError(t, h.RouteAdd(route("198.51.100.0/24", peerIP)))
		must.NoError(t, h.RouteAdd(route("203.0.113.0/24", "")))
		must.NoError(t, h.RouteAdd(route("192.0.2.0/25", "203.0.113.1")))
	})
	task := p.linuxIn(t, n, "../../guest/lkl/testdata/probe.c", TaskConfig{
		Args: strings.Fields("route 198.51.100.9 route 203.0.113.9 route 192.0.2.9 route 192.0.2.200 exit 4"),
	})
	_, _, err := p.StartTask(task)
	must.NoError(t, err)
	must.Eq(t, 4, p.wait(t, task).ExitCode, must.Sprint(console(task)))
	waitForLine(t, task, "route 198.51.100.9: from "+allocIP)
	waitForLine(t, task, "route 203.0.113.9: from "+allocIP)
	waitForLine(t, task, "route 192.0.2.9: from "+allocIP)
	waitForLine(t, task, "route 192.0.2.200: Network unreachable")
}

// Calico's CNI plugin assigns an address with prefix length 32 and a gateway
// outside of it.
func TestLinux_UsesAGatewayOutsideItsNetwork(t *testing.T) {
	p := newTestPlugin(t)
	n := newTestNetwork(t)
	within(t, n.alloc, func(h *netlink.Handle) {
		link := addAddress(t, h, "eth9", allocIP+"/32")
		wide, err := netlink.ParseAddr(allocIP + "/24")
		must.NoError(t, err)
		must.NoError(t, h.AddrDel(link, wide))
		router := net.IPv4(169, 254, 1, 1)
		must.NoError(t, h.RouteAdd(&netlink.Route{
			LinkIndex: link.Attrs().Index, Dst: netlink.NewIPNet(router), Scope: netlink.SCOPE_LINK,
		}))
		must.NoError(t, h.RouteReplace(&netlink.Route{LinkIndex: link.Attrs().Index, Gw: router}))
	})
	within(t, n.peer, func(h *netlink.Handle) { addAddress(t, h, "peer", "169.254.1.1/32") })
	task := p.linuxIn(t, n, "../../guest/lkl/testdata/probe.c", TaskConfig{
		Args: strings.Fields("route 198.51.100.9 exit 4"),
	})
	_, _, err := p.StartTask(task)
	must.NoError(t, err)
	must.Eq(t, 4, p.wait(t, task).ExitCode, must.Sprint(console(task)))
	waitForLine(t, task, "route 198.51.100.9: from "+allocIP)
}

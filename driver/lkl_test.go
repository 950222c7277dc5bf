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

	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv/ext4"
)

// linux makes a task of a C program of testdata on Linux, in a network of its
// own, with an empty root disk.
func (b *bed) linux(t *testing.T, program string, job TaskConfig) *drivers.TaskConfig {
	t.Helper()
	return b.linuxIn(t, newAllocNetwork(t), program, job)
}

func (b *bed) linuxIn(t *testing.T, n *allocNetwork, program string, job TaskConfig) *drivers.TaskConfig {
	t.Helper()
	job.Kernel, job.Rootfs, job.RootfsSize = "local/kernel", "local/root", "32MiB"
	task := b.task(t, TaskConfig{Kernel: "hello.spt"}, true) // for its directory
	task.NetworkIsolation = n.spec()
	task.Env["NOMAD_ALLOC_ID"] = task.AllocID
	local := task.TaskDir().LocalDir
	must.NoError(t, exec.Command("mkdir", "-p", filepath.Join(local, "root", "srv")).Run())
	out, err := exec.Command(testenv.Guest(t, "lkl-cc"), "-O1", "-o", filepath.Join(local, "kernel"),
		filepath.Join("testdata", program)).CombinedOutput()
	must.NoError(t, err, must.Sprint(string(out)))
	must.NoError(t, task.EncodeConcreteDriverConfig(&job))
	return task
}

func (b *bed) startLinux(t *testing.T, task *drivers.TaskConfig) *drivers.TaskHandle {
	t.Helper()
	handle, _, err := b.StartTask(task)
	must.NoError(t, err)
	says(t, task, "ready")
	return handle
}

// says waits for a line on the task's console.
func says(t *testing.T, task *drivers.TaskConfig, line string) {
	t.Helper()
	eventually(t, fmt.Sprintf("%q in the console", line), func() bool {
		return strings.Contains(console(task), line+"\n")
	})
}

func TestLinux_SignalsReachTheProgram(t *testing.T) {
	b := newBed(t)
	task := b.linux(t, "signals.c", TaskConfig{Args: []string{"two words", `"\`, ""}})
	handle := b.startLinux(t, task)
	must.True(t, stateOf(t, handle).Control)
	says(t, task, "arg1=[two words]\narg2=[\"\\]\narg3=[]")
	says(t, task, "host="+hostname(task)+" uid=0 gid=0 cwd=/ alloc="+task.AllocID)
	for _, name := range []string{"SIGHUP", "SIGUSR1", "SIGWINCH"} {
		must.NoError(t, b.SignalTask(task.ID, name))
	}
	says(t, task, "signal=1\nsignal=10\nsignal=28")

	must.NoError(t, b.StopTask(task.ID, time.Minute, ""))
	result := b.wait(t, task)
	must.Eq(t, 7, result.ExitCode, must.Sprint(console(task)))
	must.Eq(t, 0, result.Signal)
	says(t, task, "signal=15")

	image := filepath.Join(stateOf(t, handle).Dir, diskFile)
	must.NoError(t, ext4.Check(image))
	content, err := ext4.ReadFile(image, "/written")
	must.NoError(t, err)
	must.Eq(t, "kept\n", string(content))
	must.NoError(t, b.DestroyTask(task.ID, false))
	nothingLeft(t, handle)
}

func TestLinux_StartsTheProgramAsTheUserInTheDirectory(t *testing.T) {
	b := newBed(t)
	task := b.linux(t, "signals.c", TaskConfig{WorkDir: "/local"})
	task.User = "1000:100"
	handle := b.startLinux(t, task)
	says(t, task, "host="+hostname(task)+" uid=1000 gid=100 cwd=/local alloc="+task.AllocID)
	must.NoError(t, b.StopTask(task.ID, time.Minute, ""))
	image := filepath.Join(stateOf(t, handle).Dir, diskFile)
	content, err := ext4.ReadFile(image, "/local/written") // the task's directory is its user's
	must.NoError(t, err)
	must.Eq(t, "kept\n", string(content))
}

func TestLinux_SysctlAndKernelLog(t *testing.T) {
	b := newBed(t)
	plain := b.linux(t, "signals.c", TaskConfig{})
	b.startLinux(t, plain)
	says(t, plain, "ttl=64")
	must.StrNotContains(t, console(plain), "Linux version")

	c := newBed(t)
	task := c.linux(t, "signals.c", TaskConfig{
		KernelLog: true, Sysctl: []map[string]string{{"net.ipv4.ip_default_ttl": "99"}},
	})
	c.startLinux(t, task)
	says(t, task, "ttl=99")
	must.StrContains(t, console(task), "Linux version")
}

// The guest is told of a cache that it can flush, or the disk has none.
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
			b := newBed(t)
			task := b.linux(t, "signals.c", TaskConfig{RootfsSync: sync})
			handle := b.startLinux(t, task)
			says(t, task, "disk="+c.disk)
			must.StrNotContains(t, console(task), "written:") // what perror would say
			const rootfs = 5                                  // the first device of the manifest: docs/tender.md
			info, err := os.ReadFile(fmt.Sprintf("/proc/%d/fdinfo/%d", stateOf(t, handle).Guest.Pid, rootfs))
			must.NoError(t, err)
			var position, flags int
			_, err = fmt.Sscanf(string(info), "pos: %d\nflags: %o", &position, &flags)
			must.NoError(t, err)
			must.Eq(t, c.through, flags&unix.O_DSYNC != 0)
			must.NoError(t, b.StopTask(task.ID, time.Minute, ""))
			must.Eq(t, 7, b.wait(t, task).ExitCode)
		})
	}
}

func TestLinux_HasTheAllocsIPv6Address(t *testing.T) {
	b := newBed(t)
	n := newAllocNetwork(t)
	const own, router = "fd00:78::5", "fd00:78::1"
	within(t, n.peer, func(h *netlink.Handle) { addAddress(t, h, "peer", router+"/64") })
	within(t, n.alloc, func(h *netlink.Handle) {
		link := addAddress(t, h, "eth9", own+"/64")
		must.NoError(t, h.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Gw: net.ParseIP(router)}))
	})
	b.startLinux(t, b.linuxIn(t, n, "signals.c", TaskConfig{}))
	// Nobody listens there, and it is the guest that says so.
	for _, address := range []string{own, allocIP} {
		eventually(t, "an answer of "+address, func() (refused bool) {
			within(t, n.peer, func(*netlink.Handle) {
				_, err := net.DialTimeout("tcp", net.JoinHostPort(address, "9"), time.Second)
				refused = errors.Is(err, syscall.ECONNREFUSED)
			})
			return refused
		})
	}
}

func TestLinux_StopSendsTheJobsSignalAndKillsAtTheTimeout(t *testing.T) {
	b := newBed(t)
	task := b.linux(t, "signals.c", TaskConfig{})
	b.startLinux(t, task)
	began := time.Now()
	must.NoError(t, b.StopTask(task.ID, 500*time.Millisecond, "SIGINT"))
	must.Between(t, 500*time.Millisecond, time.Since(began), patience)
	says(t, task, "signal=2")
	result := b.wait(t, task)
	must.Eq(t, 9, result.Signal)
	must.ErrorContains(t, result.Err, "did not stop in time")
}

func TestLinux_IsSeededAnewAtEachStart(t *testing.T) {
	seen := map[string]bool{}
	for range 2 {
		b := newBed(t)
		task := b.linux(t, "signals.c", TaskConfig{})
		b.startLinux(t, task)
		_, random, _ := strings.Cut(console(task), "random=")
		random, _, _ = strings.Cut(random, "\n")
		must.NotEq(t, "", random)
		must.False(t, seen[random])
		seen[random] = true
		must.NoError(t, b.StopTask(task.ID, time.Minute, ""))
	}
}

// Routes of the alloc besides the default one, such as those of a CNI network.
func TestLinux_HasTheAllocsRoutes(t *testing.T) {
	b := newBed(t)
	n := newAllocNetwork(t)
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
	task := b.linuxIn(t, n, "../../guest/lkl/testdata/probe.c", TaskConfig{
		Args: strings.Fields("route 198.51.100.9 route 203.0.113.9 route 192.0.2.9 route 192.0.2.200 exit 4"),
	})
	_, _, err := b.StartTask(task)
	must.NoError(t, err)
	must.Eq(t, 4, b.wait(t, task).ExitCode, must.Sprint(console(task)))
	says(t, task, "route 198.51.100.9: from "+allocIP)
	says(t, task, "route 203.0.113.9: from "+allocIP)
	says(t, task, "route 192.0.2.9: from "+allocIP)
	says(t, task, "route 192.0.2.200: Network unreachable")
}

// As Calico's CNI plugin has it: an address of its own alone, and a router that no
// address reaches.
func TestLinux_HasARouterBeyondItsNetwork(t *testing.T) {
	b := newBed(t)
	n := newAllocNetwork(t)
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
	task := b.linuxIn(t, n, "../../guest/lkl/testdata/probe.c", TaskConfig{
		Args: strings.Fields("route 198.51.100.9 exit 4"),
	})
	_, _, err := b.StartTask(task)
	must.NoError(t, err)
	must.Eq(t, 4, b.wait(t, task).ExitCode, must.Sprint(console(task)))
	says(t, task, "route 198.51.100.9: from "+allocIP)
}

// SPDX-License-Identifier: MPL-2.0

package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	guestAddress  = "10.9.0.2"
	nativeAddress = "10.9.1.2"
	// guestConfig is quoted for the guest's command line parser. The verb takes
	// the value of the key "offload".
	guestConfig = `'{"interfaces":[{"name":"tap","ip":"10.9.0.2","masklen":"24","offload":"%d"}],"gateway":"10.9.0.1",` +
		`"disks":[{"name":"rootfs","transfer":"1048576"}]}'`
)

// A testbed is the environment of the benchmarks. Native servers run in a network
// namespace of their own; the load generators share one with the guest's tap.
type testbed struct {
	dir              string
	loadNS, nativeNS string
	allocNS          []string // of the guests that are connected as under the driver
	options          guestOptions
	running          []*exec.Cmd
}

// guestOptions are optional features of a guest.
type guestOptions struct {
	offload   bool // virtio headers on its tap
	hugePages bool
}

// runArgs returns the start of the command that runs a guest.
func (g guestOptions) runArgs(memory string) []string {
	args := []string{"build/nomad-driver-lkl", "run", "--mem=" + memory}
	if g.hugePages {
		args = append(args, "--huge-pages")
	}
	return args
}

// offloadArgs returns the options of a tap for the command of runArgs.
func (g guestOptions) offloadArgs() []string {
	if g.offload {
		return []string{"--net-offload:tap"}
	}
	return nil
}

// offloadValue returns the value of the key "offload" in the guest's configuration.
func (g guestOptions) offloadValue() int {
	if g.offload {
		return 1
	}
	return 0
}

const namespacePrefix = "lklbench-"

// removeAbandoned removes the namespaces of benchmarks that were killed.
func removeAbandoned() {
	names, _ := filepath.Glob("/run/netns/" + namespacePrefix + "*") // fails only for a bad pattern
	for _, path := range names {
		name := filepath.Base(path)
		var pid int
		if _, err := fmt.Sscanf(name, namespacePrefix+"%d-", &pid); err != nil || syscall.Kill(pid, 0) != syscall.ESRCH {
			continue
		}
		_ = exec.Command("ip", "netns", "del", name).Run() // another benchmark may have removed it
	}
}

// emptyDirectory returns a directory for guests without files.
func (b *testbed) emptyDirectory() (string, error) {
	return os.MkdirTemp(b.dir, "empty-")
}

func newTestbed(options guestOptions) (_ *testbed, err error) {
	removeAbandoned()
	dir, err := os.MkdirTemp("", "lkl-bench-")
	if err != nil {
		return nil, err
	}
	id := fmt.Sprintf("%s%d", namespacePrefix, os.Getpid())
	b := &testbed{dir: dir, loadNS: id + "-c", nativeNS: id + "-n", options: options}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.close())
		}
	}()
	// The native nginx reads files as another user.
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, err
	}
	for _, args := range []string{
		"netns add " + b.loadNS, "netns add " + b.nativeNS,
		"-n " + b.loadNS + " link set lo up", "-n " + b.nativeNS + " link set lo up",
		"-n " + b.loadNS + " tuntap add t0 mode tap", "-n " + b.loadNS + " addr add 10.9.0.1/24 dev t0",
		"-n " + b.loadNS + " link set t0 up",
		"-n " + b.loadNS + " link add v0 type veth peer name v1 netns " + b.nativeNS,
		"-n " + b.loadNS + " addr add 10.9.1.1/24 dev v0", "-n " + b.loadNS + " link set v0 up",
		"-n " + b.nativeNS + " addr add 10.9.1.2/24 dev v1", "-n " + b.nativeNS + " link set v1 up",
	} {
		if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("ip %s: %w: %s", args, err, out)
		}
	}
	return b, nil
}

// close stops the servers, and removes the namespaces and the directory.
func (b *testbed) close() error {
	b.stopServers()
	for _, ns := range append(b.allocNS, b.loadNS, b.nativeNS) {
		_ = exec.Command("ip", "netns", "del", ns).Run() // fails if newTestbed has failed
	}
	return os.RemoveAll(b.dir)
}

func (b *testbed) stopServers() {
	for _, c := range b.running {
		_ = syscall.Kill(-c.Process.Pid, syscall.SIGKILL)
		_ = c.Wait()
		awaitGroupEnd(c.Process.Pid)
	}
	b.running = nil
}

// awaitGroupEnd waits until a process group that was killed has ended. A guest uses its tap
// until then.
func awaitGroupEnd(group int) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for syscall.Kill(-group, 0) == nil {
		<-tick.C
	}
}

// inNamespace returns a command that runs in a network namespace.
func inNamespace(ns string, args ...string) *exec.Cmd {
	return exec.Command("ip", append([]string{"netns", "exec", ns}, args...)...)
}

// startServer starts a server, and waits until it accepts connections.
func (b *testbed) startServer(c *exec.Cmd, address string) error {
	log, err := os.Create(filepath.Join(b.dir, fmt.Sprintf("log-%d", len(b.running))))
	if err != nil {
		return err
	}
	defer log.Close()
	c.Stdout, c.Stderr = log, log
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := c.Start(); err != nil {
		return err
	}
	b.running = append(b.running, c)
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	deadline, tick := time.After(10*time.Second), time.NewTicker(50*time.Millisecond)
	defer tick.Stop()
	for {
		probe := inNamespace(b.loadNS, "timeout", "1", "bash", "-c", "exec 3<>/dev/tcp/"+host+"/"+port)
		if probe.Run() == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-deadline:
			text, _ := os.ReadFile(log.Name())
			return fmt.Errorf("no server at %s after 10 s: %s", address, text)
		}
	}
}

// makeImage makes an ext4 image from the files of a directory.
func makeImage(image, size, nginxFiles string) error {
	for _, c := range []*exec.Cmd{
		exec.Command("truncate", "-s", size, image),
		exec.Command("mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-d", nginxFiles, image),
	} {
		if out, err := c.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", c, err, out)
		}
	}
	return nil
}

// A guestMachine describes a guest: its kernel, its memory in MB, the directory with the
// files of its root disk, and the size of that disk.
type guestMachine struct{ kernel, memory, files, disk string }

// startGuest starts a server in a guest.
func (b *testbed) startGuest(m guestMachine, port string, args ...string) error {
	control, err := controlDevice()
	if err != nil {
		return err
	}
	defer control.Close()
	c, err := b.guestCommand(m, control, args...)
	if err != nil {
		return err
	}
	return b.startServer(c, guestAddress+":"+port)
}

// guestCommand makes the root disk of a guest, and returns the command that runs it in
// the namespace of the load generators.
func (b *testbed) guestCommand(m guestMachine, control *os.File, args ...string) (*exec.Cmd, error) {
	root := filepath.Join(b.dir, filepath.Base(m.kernel)+".ext4")
	if err := makeImage(root, m.disk, m.files); err != nil {
		return nil, err
	}
	run := append(b.options.runArgs(m.memory), "--net:tap=t0", "--net:control=@3",
		"--block:rootfs="+root, "--block-transfer:rootfs=1048576")
	run = append(run, b.options.offloadArgs()...)
	run = append(run, "--", m.kernel, "--config", fmt.Sprintf(guestConfig, b.options.offloadValue()), "--")
	c := inNamespace(b.loadNS, append(run, args...)...)
	c.ExtraFiles = []*os.File{control}
	return c, nil
}

// controlDevice returns the guest's end of a control device. The other end stays open
// until the program ends.
func controlDevice() (*os.File, error) {
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("make the control device: %w", err)
	}
	return os.NewFile(uintptr(pair[0]), "control"), nil
}

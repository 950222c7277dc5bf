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
	// guestConfig is quoted for the guest, which takes its words apart again. The
	// word is for the value of the key "offload".
	guestConfig = `'{"interfaces":[{"name":"tap","ip":"10.9.0.2","masklen":"24","offload":"%d"}],"gateway":"10.9.0.1",` +
		`"disks":[{"name":"rootfs","transfer":"1048576"}]}'`
)

// A bench is two namespaces, the load's (with the guest's tap) and the native
// servers', and a directory.
type bench struct {
	dir, load, native string
	options           guestOptions
	running           []*exec.Cmd
}

// guestOptions are what a guest may have and do without.
type guestOptions struct {
	offload   bool // virtio headers on its tap
	hugePages bool
}

// words are the command line of a guest, up to its own.
func (g guestOptions) words(memory string) []string {
	words := []string{"build/nomad-driver-lkl", "run", "--mem=" + memory}
	if g.hugePages {
		words = append(words, "--huge-pages")
	}
	return words
}

func newBench(options guestOptions) (_ *bench, err error) {
	dir, err := os.MkdirTemp("", "lkl-bench-")
	if err != nil {
		return nil, err
	}
	id := fmt.Sprintf("lklbench-%d", os.Getpid())
	b := &bench{dir: dir, load: id + "-c", native: id + "-n", options: options}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.close())
		}
	}()
	// nginx native reads files as another user.
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, err
	}
	for _, args := range []string{
		"netns add " + b.load, "netns add " + b.native,
		"-n " + b.load + " link set lo up", "-n " + b.native + " link set lo up",
		"-n " + b.load + " tuntap add t0 mode tap", "-n " + b.load + " addr add 10.9.0.1/24 dev t0",
		"-n " + b.load + " link set t0 up",
		"-n " + b.load + " link add v0 type veth peer name v1 netns " + b.native,
		"-n " + b.load + " addr add 10.9.1.1/24 dev v0", "-n " + b.load + " link set v0 up",
		"-n " + b.native + " addr add 10.9.1.2/24 dev v1", "-n " + b.native + " link set v1 up",
	} {
		if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("ip %s: %w: %s", args, err, out)
		}
	}
	return b, nil
}

// close ends what runs and removes what was made.
func (b *bench) close() error {
	b.end()
	for _, ns := range []string{b.load, b.native} {
		_ = exec.Command("ip", "netns", "del", ns).Run() // it may not have come to be
	}
	return os.RemoveAll(b.dir)
}

// end ends the servers.
func (b *bench) end() {
	for _, c := range b.running {
		_ = syscall.Kill(-c.Process.Pid, syscall.SIGKILL)
		_ = c.Wait()
	}
	b.running = nil
}

// in is a command in a namespace.
func in(ns string, words ...string) *exec.Cmd {
	return exec.Command("ip", append([]string{"netns", "exec", ns}, words...)...)
}

// serve starts a server and waits until it answers at its address.
func (b *bench) serve(c *exec.Cmd, address string) error {
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
		probe := in(b.load, "timeout", "1", "bash", "-c", "exec 3<>/dev/tcp/"+host+"/"+port)
		if probe.Run() == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-deadline:
			text, _ := os.ReadFile(log.Name())
			return fmt.Errorf("nothing answers at %s: %s", address, text)
		}
	}
}

// makeRoot makes an ext4 image of a directory's files.
func makeRoot(image, size, files string) error {
	for _, c := range []*exec.Cmd{
		exec.Command("truncate", "-s", size, image),
		exec.Command("mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-d", files, image),
	} {
		if out, err := c.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", c, err, out)
		}
	}
	return nil
}

// guest starts a server as a unikernel, with a directory's files as its root.
func (b *bench) guest(kernel, memory, files, port string, args ...string) error {
	root := filepath.Join(b.dir, filepath.Base(kernel)+".ext4")
	if err := makeRoot(root, "128M", files); err != nil {
		return err
	}
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("make the control device: %w", err)
	}
	theirs := os.NewFile(uintptr(pair[0]), "control")
	defer theirs.Close() // the other end stays open as long as the bench
	words := append(b.options.words(memory), "--net:tap=t0", "--net:control=@3",
		"--block:rootfs="+root, "--block-transfer:rootfs=1048576")
	offload := 0
	if b.options.offload {
		words = append(words, "--net-offload:tap")
		offload = 1
	}
	words = append(words, "--", kernel, "--config", fmt.Sprintf(guestConfig, offload), "--")
	c := in(b.load, append(words, args...)...)
	c.ExtraFiles = []*os.File{theirs}
	return b.serve(c, guestAddress+":"+port)
}

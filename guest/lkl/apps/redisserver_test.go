// SPDX-License-Identifier: MPL-2.0

package apps

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/disk"
)

// Environment variables with the paths of the plugin and the guest, for this
// program when the test suite runs it as redis-server.
const (
	pluginEnv = "LKL_APPS_TEST_PLUGIN"
	guestEnv  = "LKL_APPS_TEST_GUEST"
)

// TestMain acts as redis-server if the program has that name: redis's test suite
// starts its servers by that name.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "redis-server" {
		status, err := runRedisServer(os.Args[1:])
		if err != nil {
			fmt.Fprintln(os.Stderr, "redis-server as a unikernel:", err)
			status = 1
		}
		os.Exit(status)
	}
	os.Exit(m.Run())
}

// A redisServer is a server that redis's test suite starts.
type redisServer struct {
	config string   // path of the configuration on the host, or ""
	args   []string // arguments of redis in the guest
	text   []byte   // configuration of redis in the guest
	dir    string   // data directory of the configuration, on the host
	port   int
	image  string // path of the guest's root image
}

// runRedisServer acts as redis-server [CONFIG] [ARG ...] with a unikernel that
// answers at the configured port of 127.0.0.1. It forwards SIGTERM and SIGINT to
// the guest, and returns the guest's exit status.
func runRedisServer(args []string) (int, error) {
	s := redisServer{port: 6379}
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		s.config, args = args[0], args[1:]
		s.args = []string{"/etc/redis.conf"}
		s.image = s.config + ".root"
		if err := s.readConfig(); err != nil {
			return 0, err
		}
	} else {
		dir, err := os.MkdirTemp("", "redis-")
		if err != nil {
			return 0, err
		}
		defer os.RemoveAll(dir)
		s.image = filepath.Join(dir, "root")
	}
	s.args = append(s.args, args...)
	// A server that restarts with the same configuration keeps its data.
	if _, err := os.Stat(s.image); err != nil {
		if err := s.buildRoot(); err != nil {
			return 0, err
		}
	}
	// The test suite waits for this line.
	fmt.Println(" PID:", os.Getpid())
	return s.runGuest()
}

// readConfig reads the configuration. It omits the host's paths and addresses
// from the guest's configuration.
func (s *redisServer) readConfig() error {
	text, err := os.ReadFile(s.config)
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch name {
		case "dir":
			s.dir = value
		case "unixsocket", "bind", "pidfile":
		case "port":
			if s.port, err = strconv.Atoi(value); err != nil {
				return fmt.Errorf("%s: %w", s.config, err)
			}
			fallthrough
		default:
			s.text = append(s.text, line...)
		}
	}
	s.text = append(s.text, "\ndir /data\nprotected-mode no\n"...)
	return nil
}

// buildRoot makes the root image with the configuration and the ACL files from
// the data directory.
func (s *redisServer) buildRoot() error {
	files, err := os.MkdirTemp("", "redis-root-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(files)
	kernel := os.Getenv(guestEnv)
	if err := os.CopyFS(files, os.DirFS(strings.TrimSuffix(kernel, ".spt")+".root")); err != nil {
		return err
	}
	for _, name := range []string{"user.acl", "nodefaultuser.acl", "userwithselectors.acl"} {
		content, err := os.ReadFile(filepath.Join(s.dir, name))
		if s.dir == "" || errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(files, "data", name), content, 0o644); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(files, "etc", "redis.conf"), s.text, 0o644); err != nil {
		return err
	}
	return disk.Build(context.Background(), files, s.image, disk.BuildOptions{Size: 1 << 30})
}

// setUpNetwork makes a tap for the guest, and redirects connections to the port
// of 127.0.0.1 to the guest.
func (s *redisServer) setUpNetwork() (tap, address string, err error) {
	tap = fmt.Sprintf("t%d", s.port)
	prefix := fmt.Sprintf("10.%d.%d.", s.port>>8, s.port&0xff)
	address = prefix + "2"
	if _, err := net.InterfaceByName(tap); err == nil { // an earlier server has left it
		return tap, address, runCommands("ip addr flush dev lo to " + address + "/32")
	}
	return tap, address, runCommands(
		"ip tuntap add "+tap+" mode tap",
		"ip addr add "+prefix+"1/24 dev "+tap,
		"ip link set "+tap+" up",
		fmt.Sprintf("iptables -w -t nat -A OUTPUT -p tcp -d 127.0.0.1 --dport %d -j DNAT --to-destination %s", s.port, address),
	)
}

// refuseConnections takes over the address of a guest that has ended. The host
// then refuses connections to it, as it does for a server that was a process.
// Without this a client would wait for an answer to ARP.
func refuseConnections(address string) error {
	return runCommands("ip addr add " + address + "/32 dev lo")
}

func runCommands(commands ...string) error {
	for _, command := range commands {
		args := strings.Fields(command)
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", command, err, out)
		}
	}
	return nil
}

// guestCommand returns the command that runs the guest.
func (s *redisServer) guestCommand(tap, address string) *exec.Cmd {
	config := fmt.Sprintf(`'{"interfaces":[{"name":"tap","ip":"%s","masklen":"24"}],"gateway":"%s1"}'`,
		address, strings.TrimSuffix(address, "2"))
	args := []string{
		"run", "--mem=1024", "--net:control=@3", "--net:tap=" + tap, "--block:rootfs=" + s.image,
		"--", os.Getenv(guestEnv), "--config", config, "--",
	}
	for _, arg := range s.args {
		args = append(args, quote(arg))
	}
	return exec.Command(os.Getenv(pluginEnv), args...)
}

// runGuest runs the guest to its end.
func (s *redisServer) runGuest() (int, error) {
	tap, address, err := s.setUpNetwork()
	if err != nil {
		return 0, err
	}
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	control, theirs := os.NewFile(uintptr(fds[0]), "control"), os.NewFile(uintptr(fds[1]), "control of the guest")
	defer control.Close()
	var errs bytes.Buffer
	cmd := s.guestCommand(tap, address)
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.Stdout, cmd.Stderr = os.Stdout, &errs
	// If this program is killed, the guest must end too.
	runtime.LockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	_ = theirs.Close()
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case s := <-signals:
			if _, err := fmt.Fprintf(control, "signal %d", s); err != nil {
				return 0, err
			}
		case err := <-ended:
			var exit *exec.ExitError
			if err != nil && !errors.As(err, &exit) {
				return 0, err
			}
			_, _ = os.Stderr.Write(errs.Bytes())
			return cmd.ProcessState.ExitCode(), refuseConnections(address)
		}
	}
}

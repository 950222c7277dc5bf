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

// Where the stand-in finds what it runs, told by the test that starts it.
const (
	standInPlugin = "LKL_APPS_TEST_PLUGIN"
	standInGuest  = "LKL_APPS_TEST_GUEST"
)

// TestMain makes this program redis-server if that is its name: redis's own
// tests start servers so.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "redis-server" {
		status, err := standIn(os.Args[1:])
		if err != nil {
			fmt.Fprintln(os.Stderr, "redis-server as a unikernel:", err)
			status = 1
		}
		os.Exit(status)
	}
	os.Exit(m.Run())
}

// A server is what redis's tests want started.
type server struct {
	config string   // the file's path; "": there is none
	args   []string // for the guest's redis
	text   []byte   // of the configuration, for the guest
	dir    string   // of its data, on the host
	port   int
	image  string
}

// standIn is redis-server [CONFIG] [ARG ...], as a unikernel that answers at the
// configured port of 127.0.0.1: it gives its exit status. SIGTERM and SIGINT
// become signals of the guest.
func standIn(args []string) (int, error) {
	s := server{port: 6379}
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		s.config, args = args[0], args[1:]
		s.args = []string{"/etc/redis.conf"}
		s.image = s.config + ".root"
		if err := s.read(); err != nil {
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
	// A server that starts again with its configuration has its data.
	if _, err := os.Stat(s.image); err != nil {
		if err := s.build(); err != nil {
			return 0, err
		}
	}
	// The tests wait for this line.
	fmt.Println(" PID:", os.Getpid())
	return s.run()
}

// read takes the configuration apart, and leaves out of the guest's what names
// the host's paths and addresses.
func (s *server) read() error {
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

// build makes the root file system, with the configuration and what lies in
// the server's directory.
func (s *server) build() error {
	files, err := os.MkdirTemp("", "redis-root-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(files)
	kernel := os.Getenv(standInGuest)
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

// network makes a tap for the port, and leads the port there.
func (s *server) network() (tap, address string, err error) {
	tap = fmt.Sprintf("t%d", s.port)
	prefix := fmt.Sprintf("10.%d.%d.", s.port>>8, s.port&0xff)
	address = prefix + "2"
	if _, err := net.InterfaceByName(tap); err == nil { // of a server before this one
		return tap, address, nil
	}
	rule := fmt.Sprintf("iptables -w -t nat -A OUTPUT -p tcp -d 127.0.0.1 --dport %d -j DNAT --to-destination %s", s.port, address)
	for _, words := range []string{
		"ip tuntap add " + tap + " mode tap",
		"ip addr add " + prefix + "1/24 dev " + tap,
		"ip link set " + tap + " up",
		rule,
	} {
		args := strings.Fields(words)
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			return "", "", fmt.Errorf("%s: %w: %s", words, err, out)
		}
	}
	return tap, address, nil
}

// run runs the guest to its end.
func (s *server) run() (int, error) {
	tap, address, err := s.network()
	if err != nil {
		return 0, err
	}
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	control, theirs := os.NewFile(uintptr(fds[0]), "control"), os.NewFile(uintptr(fds[1]), "control of the guest")
	defer control.Close()
	config := fmt.Sprintf(`'{"interfaces":[{"name":"tap","ip":"%s","masklen":"24"}],"gateway":"%s1"}'`,
		address, strings.TrimSuffix(address, "2"))
	words := []string{
		"run", "--mem=1024", "--net:control=@3", "--net:tap=" + tap, "--block:rootfs=" + s.image,
		"--", os.Getenv(standInGuest), "--config", config, "--",
	}
	for _, arg := range s.args {
		// The guest takes its words apart again.
		words = append(words, `"`+strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(arg)+`"`)
	}
	var errs bytes.Buffer
	cmd := exec.Command(os.Getenv(standInPlugin), words...)
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.Stdout, cmd.Stderr = os.Stdout, &errs
	// Whoever kills this program kills the guest.
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
			return cmd.ProcessState.ExitCode(), nil
		}
	}
}

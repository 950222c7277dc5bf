// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/tender"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
)

func TestParseRun_AcceptsTheOptionsOfSolo5AndOurs(t *testing.T) {
	o, err := parseRun([]string{
		"--mem=64", "--x-exec-heap", "--huge-pages", "--tender=spt",
		"--net:service=tap7", "--net-mac:service=02:00:00:00:00:07", "--net:other=@5", "--net-offload:other",
		"--block:root0=/a=b c", "--block-sector-size:root0=4096",
		"--block-transfer:root0=65536", "--block-flush:root0", "--block-write-through:other",
		"--", "kernel.spt", "--solo5:quiet", "--mem=1", "word",
	})
	must.NoError(t, err)
	want := &runOptions{
		kernel: "kernel.spt", args: []string{"--solo5:quiet", "--mem=1", "word"},
		memory: 64 << 20, execHeap: true, hugePages: true,
		interfaces: map[string]string{"service": "tap7", "other": "@5"},
		macs:       map[string][6]byte{"service": {2, 0, 0, 0, 0, 7}},
		offloads:   map[string]bool{"other": true},
		disks:      map[string]string{"root0": "/a=b c"},
		blockSizes: map[string]uint16{"root0": 4096},
		transfers:  map[string]uint32{"root0": 65536}, flushes: map[string]bool{"root0": true},
		writeThrough: map[string]bool{"other": true},
	}
	must.True(t, reflect.DeepEqual(want, o), must.Sprintf("%+v", o))
}

func TestParseRun_OptionsEndBeforeTheKernel(t *testing.T) {
	o, err := parseRun([]string{"kernel.spt", "--mem=64", "--", "--help"})
	must.NoError(t, err)
	must.Eq(t, []string{"--mem=64", "--", "--help"}, o.args)
	must.Eq(t, 512<<20, o.memory)
}

func TestParseRun_ErrorNamesTheOption(t *testing.T) {
	for _, option := range []string{
		"-m", "--memory=5", "--mem", "--mem=", "--mem=0", "--mem=-1", "--mem=1x", "--mem=1048576",
		"--mem=99999999999999999999", "--tender=qemu", "--x-exec-heap=1", "--huge-pages=always",
		"--net:=tap0", "--net:a-b=tap0", "--net:tap", "--net:tap=", "--net:" + strings.Repeat("n", 68) + "=tap0",
		"--net-offload", "--net-offload:", "--net-offload:tap=1", "--net-mac:tap=02:00", "--net-mac:tap=02:00:00:00:00:00:00:01", "--net-mac:tap=zz:00:00:00:00:01",
		"--block:disk", "--block-sector-size:disk=0", "--block-sector-size:disk=256",
		"--block-sector-size:disk=521", "--block-sector-size:disk=65536",
		"--block-transfer:disk", "--block-transfer:disk=-1", "--block-transfer:disk=1048577", "--block-flush:disk=1",
		"--block-write-through:disk=", "--block-flush:",
		"--volume", "--volume=", "--volume=/a", "--volume=:/b", "--volume=/a:b", "--volume=/a:/", "--volume=/a:/b:rw", "--volume=/a:/../b", "--volume=/a:/proc",
	} {
		status, _, stderr := runProgram("run", option, "kernel.spt")
		must.Eq(t, 1, status)
		name, _, _ := strings.Cut(option, "=")
		must.StrContains(t, stderr, name)
	}
}

func TestRun_HelpAndVersion(t *testing.T) {
	status, stdout, _ := runProgram("run", "--help")
	must.Eq(t, 0, status)
	must.StrContains(t, stdout, "usage: lkl run")
	status, _, stderr := runProgram("run", "--mem=5", "--version")
	must.Eq(t, 0, status)
	must.StrContains(t, stderr, "ABI version 2")
	status, _, stderr = runProgram("run")
	must.Eq(t, 1, status)
	must.StrContains(t, stderr, "usage: lkl run")
}

func TestRun_ExitsWithTheStatusOfTheGuest(t *testing.T) {
	crash := testenv.Guest(t, "crash.spt")
	for _, c := range []struct {
		args   []string
		status int
		stderr string
	}{
		{[]string{"exit", "0"}, 0, ""},
		{[]string{"exit", "42"}, 42, ""},
		{[]string{"abort"}, 255, ""},
		{[]string{"null"}, 139, "guest fault (SIGSEGV)"},
		{[]string{"opcode"}, 132, "guest fault (SIGILL)"},
		{[]string{"syscall"}, 159, "forbidden system call (SIGSYS)"},
		{[]string{"int80"}, 159, "forbidden system call (SIGSYS)"},
	} {
		t.Run(strings.Join(c.args, " "), func(t *testing.T) {
			status, _, stderr := runProgram(append([]string{"run", "--mem=8", crash}, c.args...)...)
			must.Eq(t, c.status, status)
			if c.stderr == "" {
				must.Eq(t, "", stderr)
			}
			must.StrContains(t, stderr, c.stderr)
		})
	}
}

func TestRun_PassesTheCommandLine(t *testing.T) {
	status, stdout, stderr := runProgram("run", "--mem=8", testenv.Guest(t, "hello.spt"), "one", "--two", "", "3 4")
	must.Eq(t, 0, status, must.Sprint(stderr))
	must.StrContains(t, stdout, "command line: one --two  3 4\n")
}

func TestRun_WritesOfTheGuestAreInTheFile(t *testing.T) {
	guest := testenv.Guest(t, "disk.spt")
	for _, size := range []string{"512", "4096"} {
		image := filepath.Join(t.TempDir(), "image")
		must.NoError(t, os.WriteFile(image, make([]byte, 64<<10), 0o600))
		for _, mode := range []string{"mode=write", "mode=check"} {
			status, stdout, stderr := runProgram(
				"run", "--mem=8", "--block:disk="+image, "--block-sector-size:disk="+size, guest, mode)
			must.Eq(t, 0, status, must.Sprint(stdout, stderr))
		}
	}
}

func TestRun_ErrorsAreThoseOfSolo5(t *testing.T) {
	disk, hello := testenv.Guest(t, "disk.spt"), testenv.Guest(t, "hello.spt")
	odd := filepath.Join(t.TempDir(), "odd")
	must.NoError(t, os.WriteFile(odd, make([]byte, 6144), 0o600))
	empty := filepath.Join(t.TempDir(), "empty")
	must.NoError(t, os.WriteFile(empty, nil, 0o600))
	fifo := filepath.Join(t.TempDir(), "fifo")
	must.NoError(t, unix.Mkfifo(fifo, 0o600))
	for message, args := range map[string][]string{
		"Could not open": {"/nonexistent"},
		"too short":      {fifo},
		"Solo5":          {"/bin/sh"},
		"declared but not attached\nlkl run: all ":                   {disk},
		"resource not declared in manifest: 'disk'":                  {"--block:disk=" + odd, hello},
		"resource not declared in manifest: 'net'":                   {"--net-mac:net=02:00:00:00:00:01", hello},
		"could not open block device":                                {"--block:disk=/nonexistent", disk},
		"disk: Backing storage size must be block aligned (4096":     {"--block:disk=" + odd, "--block-sector-size:disk=4096", disk},
		"disk: Backing storage must be at least 1 block (512 bytes)": {"--block:disk=" + empty, disk},
		"not enough guest memory":                                    {"--mem=1", hello},
		"is not for the solo5-spt target":                            {testenv.Guest(t, "hello.hvt")},
		"command line":                                               {hello, strings.Repeat("x", 8192)},
	} {
		status, _, stderr := runProgram(append([]string{"run"}, args...)...)
		must.Eq(t, 1, status)
		must.StrContains(t, stderr, message)
		must.StrContains(t, stderr, "lkl run: ")
	}
}

// A guest without a list of features may have been configured in its own words, so
// run accepts all options for it.
func TestRun_RefusesFeaturesThatTheGuestDoesNotList(t *testing.T) {
	const all = unikernel.FeatureConfig | unikernel.FeatureOffload | unikernel.FeatureTransfer | unikernel.FeatureFlush
	m := &unikernel.Info{Manifest: []unikernel.Device{{Name: "disk", Type: unikernel.Block}, {Name: "tap", Type: unikernel.Net}}}
	for option, feature := range map[string]unikernel.Features{
		"--net-offload:tap": unikernel.FeatureOffload, "--block-transfer:disk=65536": unikernel.FeatureTransfer,
		"--block-flush:disk": unikernel.FeatureFlush,
	} {
		o, err := parseRun([]string{"--net:tap=@3", "--block:disk=image", option, "kernel"})
		must.NoError(t, err)
		for _, features := range []unikernel.Features{0, all} {
			m.Features = features
			must.NoError(t, o.checkDevices(m))
		}
		m.Features = all &^ feature
		err = o.checkDevices(m)
		must.ErrorContains(t, err, strings.Split(option, "=")[0])
		must.ErrorContains(t, err, "does not support the feature "+feature.String())
	}
}

func TestRun_AttachesDevicesThatTheManifestLacks(t *testing.T) {
	m := &unikernel.Info{Manifest: []unikernel.Device{{Name: "disk", Type: unikernel.Block}}}
	parse := func(options ...string) *runOptions {
		o, err := parseRun(append(options, "--block:disk=image", "kernel"))
		must.NoError(t, err)
		return o
	}
	o := parse("--block:data=image", "--block-flush:data", "--block-write-through:data", "--net:tap=@3", "--net-mac:tap=02:00:00:00:00:01")
	must.ErrorContains(t, o.checkDevices(m), "resource not declared in manifest: 'data'")
	m.Features = unikernel.FeatureConfig | unikernel.FeatureFlush
	must.ErrorContains(t, o.checkDevices(m), "resource not declared in manifest: 'tap'")
	m.Features |= unikernel.FeatureDevices
	must.NoError(t, o.checkDevices(m))
	must.Eq(t, []unikernel.Device{{Name: "data", Type: unikernel.Block}, {Name: "tap", Type: unikernel.Net}}, o.undeclared(m))
	// An option needs a device of its type.
	for _, option := range []string{"--block-flush:other", "--net-mac:disk=02:00:00:00:00:01", "--net:disk=@3"} {
		name, _, _ := strings.Cut(strings.SplitN(option, ":", 2)[1], "=")
		must.ErrorContains(t, parse(option).checkDevices(m), "resource not declared in manifest: '"+name+"'")
	}
}

func TestRun_VolumesNeedAGuestThatMountsThem(t *testing.T) {
	o, err := parseRun([]string{"--volume=/srv/a b:/data:ro", "--volume=rel:/etc/x", "kernel"})
	must.NoError(t, err)
	must.Eq(t, []volume{{"/srv/a b", "/data", true}, {"rel", "/etc/x", false}}, o.volumes)
	all := unikernel.FeatureConfig | unikernel.FeatureDevices | unikernel.FeatureFiles
	must.NoError(t, o.checkVolumes(&unikernel.Info{Features: all}))
	for features, missing := range map[unikernel.Features]string{
		0:                               "config, devices, files",
		all &^ unikernel.FeatureFiles:   "files",
		all &^ unikernel.FeatureDevices: "devices",
	} {
		must.ErrorContains(t, o.checkVolumes(&unikernel.Info{Features: features}), "the guest lacks the features "+missing+":")
	}
	o.interfaces["files"] = "@3"
	must.ErrorContains(t, o.checkVolumes(&unikernel.Info{Features: all}), "--net:files")
}

func TestRun_AttachesATapByName(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.Tun, testenv.Tool("ip"), testenv.Tool("unshare"))
	image := filepath.Join(t.TempDir(), "image")
	must.NoError(t, os.WriteFile(image, make([]byte, 4096), 0o600))
	run := []string{testenv.LKL(t), "run", "--mem=8", "--net:tap=tap9", "--block:rootfs=" + image}
	output, err := exec.Command("unshare", append([]string{
		"-n", "sh", "-ec", "ip tuntap add tap9 mode tap; ip link set tap9 mtu 9000 up; exec \"$@\"", "sh",
	}, append(run, "--net-mac:tap=02:00:00:00:00:09", testenv.Guest(t, "hello-lkl.spt"))...)...).CombinedOutput()
	must.NoError(t, err, must.Sprint(string(output)))
	must.StrContains(t, string(output), "net tap: 02:00:00:00:00:09, mtu 9000")

	output, err = exec.Command("unshare", append([]string{
		"-n", "sh", "-ec", "ip tuntap add tap9 mode tap; exec \"$@\"", "sh",
	}, append(run, testenv.Guest(t, "hello-lkl.spt"))...)...).CombinedOutput()
	must.Error(t, err)
	must.StrContains(t, string(output), "could not attach interface: tap tap9: network is down")
}

func TestRun_AttachesAnOpenDescriptor(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	must.NoError(t, err)
	guest, host := os.NewFile(uintptr(pair[0]), "guest"), os.NewFile(uintptr(pair[1]), "host")
	defer guest.Close()
	defer host.Close()
	image := filepath.Join(t.TempDir(), "image")
	must.NoError(t, os.WriteFile(image, make([]byte, 4096), 0o600))
	c := exec.Command(testenv.LKL(t), "run", "--mem=8", "--net:tap=@3", "--block:rootfs="+image,
		testenv.Guest(t, "hello-lkl.spt"))
	c.ExtraFiles = []*os.File{guest}
	output, err := c.CombinedOutput()
	must.NoError(t, err, must.Sprint(string(output)))
	must.StrContains(t, string(output), ", mtu 1500\n")
}

func TestRandomMAC_IsUnicastAndLocallyAdministered(t *testing.T) {
	a, err := randomMAC()
	must.NoError(t, err)
	b, err := randomMAC()
	must.NoError(t, err)
	must.NotEq(t, a, b)
	must.Eq(t, 2, a[0]&3)
}

// startRun runs a guest in another process, and returns when the guest waits.
func startRun(t *testing.T) *exec.Cmd {
	t.Helper()
	c := exec.Command(testenv.LKL(t), "run", "--mem=8", testenv.Guest(t, "idle.spt"))
	stdout, err := c.StdoutPipe()
	must.NoError(t, err)
	must.NoError(t, c.Start())
	t.Cleanup(func() { _ = c.Process.Kill() })
	line, err := bufio.NewReader(stdout).ReadString('\n')
	must.NoError(t, err)
	must.Eq(t, "idle: waiting\n", line)
	return c
}

func TestRun_PassesTheFirstSignalToTheGuest(t *testing.T) {
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		c := startRun(t)
		must.NoError(t, c.Process.Signal(s))
		must.Error(t, c.Wait())
		must.Eq(t, tender.Exit{Signal: s}.Status(), c.ProcessState.ExitCode())
	}
}

func TestRun_KilledRunKillsTheGuest(t *testing.T) {
	c := exec.Command(testenv.LKL(t), "run", "--mem=8", testenv.Guest(t, "idle.spt"))
	stdout, err := c.StdoutPipe()
	must.NoError(t, err)
	must.NoError(t, c.Start())
	out := bufio.NewReader(stdout)
	_, err = out.ReadString('\n')
	must.NoError(t, err)
	must.NoError(t, c.Process.Kill())
	// The guest has the other write end of the pipe. The pipe ends with the guest.
	_, err = out.ReadByte()
	must.ErrorIs(t, err, io.EOF)
	must.Error(t, c.Wait())
}

// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/hostcheck"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// runDoctor runs "lkl doctor --json" in namespaces for mounts and processes, after a shell
// script that breaks something there. The directory $DIR is for the script; the state directory is $DIR/state.
// The checks may leave no file in their temporary directory.
func runDoctor(t *testing.T, script string, args ...string) (status int, report diagnosis) {
	t.Helper()
	testenv.Need(t, testenv.Root, testenv.Tool("mount"))
	dir, temporary := t.TempDir(), t.TempDir()
	args = append([]string{"doctor", "--json", "--state-dir", filepath.Join(dir, "state")}, args...)
	const prologue, epilogue = "mount --make-rprivate /; mount -t proc proc /proc\n", "\nexec \"$0\" \"$@\""
	cmd := exec.Command("sh", append([]string{"-ec", prologue + script + epilogue, testenv.LKL(t)}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID}
	cmd.Env = append(os.Environ(), "DIR="+dir, "TMPDIR="+temporary)
	report = decodeDoctor(t, cmd)
	left, err := os.ReadDir(temporary)
	must.NoError(t, err)
	must.SliceEmpty(t, left)
	return cmd.ProcessState.ExitCode(), report
}

func decodeDoctor(t *testing.T, cmd *exec.Cmd) (report diagnosis) {
	t.Helper()
	output, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil {
		must.True(t, errors.As(err, &exit), must.Sprint(err))
		must.Eq(t, "", string(exit.Stderr))
	}
	decoder := json.NewDecoder(bytes.NewReader(output))
	decoder.DisallowUnknownFields()
	must.NoError(t, decoder.Decode(&report), must.Sprint(string(output)))
	return report
}

// find returns the outcome of the check with a name.
func (d diagnosis) find(t *testing.T, name string) hostcheck.Finding {
	t.Helper()
	for _, c := range d.Checks {
		if c.Name == name {
			return c.Finding
		}
	}
	t.Fatalf("no check %q in %+v", name, d.Checks)
	return hostcheck.Finding{}
}

// faults returns the checks that have failed.
func (d diagnosis) faults() []checkResult {
	return slices.DeleteFunc(slices.Clone(d.Checks), func(c checkResult) bool { return c.Status != hostcheck.Failed })
}

func TestDoctor_FindsNoFaultOnAHostThatRunsTests(t *testing.T) {
	testenv.Need(t, testenv.Tun)
	status, report := runDoctor(t, "")
	must.Eq(t, exitOK, status, must.Sprint(report.faults()))
	must.NotEq(t, hostcheck.Failed, report.Status)
	for _, name := range []string{"user", "kernel", "seccomp", "guest", "controllers", "mount", "space", "build", "tun", "connection"} {
		must.Eq(t, hostcheck.OK, report.find(t, name).Status, must.Sprint(name))
	}
	must.Eq(t, hostcheck.Info, report.find(t, "owner").Status) // missing
	for _, c := range report.Checks {
		must.NotEq(t, "", c.Group)
		must.NotEq(t, "", c.Detail, must.Sprint(c.Name))
		must.SliceContains(t, []hostcheck.Status{
			hostcheck.OK, hostcheck.Info, hostcheck.Skipped, hostcheck.Warning, hostcheck.Failed,
		}, c.Status)
	}
}

// cachedImage is a script that fills a cache with one image.
const cachedImage = `mkdir -p $DIR/state/images/images $DIR/state/images/entries/a
head -c 7M /dev/zero >$DIR/state/images/entries/a/b
cd $DIR/state/images/images
touch a
`

// oldTools is a script that puts tools with another output before the real ones.
func oldTools(output string) string {
	return `mkdir $DIR/bin
for tool in mke2fs debugfs e2fsck resize2fs; do
	printf '#!/bin/sh\n` + output + `\n' $tool > $DIR/bin/$tool
	chmod 755 $DIR/bin/$tool
done
export PATH=$DIR/bin:$PATH`
}

const hideTools = `for tool in mke2fs debugfs e2fsck resize2fs; do
	for dir in /usr/local/sbin /usr/local/bin /usr/sbin /usr/bin; do
		test ! -e $dir/$tool || mount --bind /dev/null $dir/$tool
	done
done`

// cgroupsV2 returns a script that replaces the control groups by those of version 2, with
// these controllers.
func cgroupsV2(controllers string) string {
	return "umount -R /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup\n" +
		"echo " + controllers + " >$DIR/c; mount --bind $DIR/c /sys/fs/cgroup/cgroup.controllers"
}

// cniPlugins is a script that makes CNI plugins, which print the versions that they support.
const cniPlugins = `mkdir $DIR/cni
for plugin in loopback bridge host-local firewall portmap; do
	printf '#!/bin/sh\necho "{\\"supportedVersions\\":[\\"0.4.0\\",\\"1.0.0\\"]}"\n' >$DIR/cni/$plugin
	chmod 755 $DIR/cni/$plugin
done
`

// startPrograms is a script that begins programs with the names of the agent and the driver.
// Both are copies of cat that wait for input.
const startPrograms = `mount -t tmpfs -o mode=755 none /mnt
cp /bin/cat /mnt/nomad
cp /bin/cat /mnt/nomad-driver-lkl
mkfifo -m 666 /mnt/agent
cd /mnt
wait_for() { until test "$(readlink /proc/$!/exe)" = "/mnt/$1"; do :; done; }
start_agent() { "$@" /mnt/nomad agent & wait_for nomad; }
start_driver() { sleep 1000 | /mnt/nomad-driver-lkl & wait_for nomad-driver-lkl; }
`

func TestDoctor_FindsFaults(t *testing.T) {
	const tmpfs = "mkdir $DIR/disk; rmdir $DIR/disk; mount -t tmpfs none $DIR -o "
	for name, c := range map[string]struct {
		script string
		check  string
		status hostcheck.Status
		detail string
		fix    string
	}{
		"noexec":            {tmpfs + "noexec", "mount", hostcheck.Failed, "noexec", "mount -o remount,rw,exec "},
		"read-only":         {tmpfs + "ro", "mount", hostcheck.Failed, "read-only", "mount -o remount,rw,exec "},
		"nosuid":            {tmpfs + "nosuid", "mount", hostcheck.OK, "nosuid", ""},
		"in memory":         {tmpfs + "rw", "file system", hostcheck.Warning, "tmpfs", ""},
		"full disk":         {tmpfs + "size=64k; head -c 65536 /dev/zero >$DIR/full || true", "space", hostcheck.Failed, "is full", "lkl image gc --all"},
		"no inodes":         {tmpfs + "nr_inodes=2; touch $DIR/a", "space", hostcheck.Failed, "no free inodes", "lkl image gc --all"},
		"writable by all":   {"mkdir -m 777 $DIR/state", "owner", hostcheck.Failed, "chmod go-w", ""},
		"of another user":   {"mkdir $DIR/state; chown 1234 $DIR/state", "owner", hostcheck.Failed, "user 1234", ""},
		"readable by all":   {"mkdir -m 755 $DIR/state", "owner", hostcheck.Warning, "0755", "chmod 0700 "},
		"incomplete starts": {"mkdir -p $DIR/state/incomplete/a; touch -d yesterday $DIR/state/incomplete/a", "tasks", hostcheck.Warning, "1 of allocs", ""},
		"stray task":        {"mkdir -p $DIR/state/tasks/a", "tasks", hostcheck.Warning, "1 ended, 1 of", ""},
		"cached image":      {cachedImage, "images", hostcheck.Info, "1 image uses 7.0 MiB; lkl image list names it", ""},
		"cached images":     {cachedImage + "touch b", "images", hostcheck.Info, "2 images use 7.0 MiB; lkl image list names them", ""},
		"no tun":            {"mount -t tmpfs none /dev/net", "tun", hostcheck.Failed, "/dev/net/tun", "modprobe tun"},
		"no e2fsprogs":      {hideTools, "e2fsprogs", hostcheck.Failed, "mke2fs", "apt-get install e2fsprogs"},
		"old e2fsprogs":     {oldTools("echo %s 1.42.5"), "e2fsprogs", hostcheck.Warning, "mke2fs 1.42.5", "apt-get install e2fsprogs"},
		"broken e2fsprogs":  {oldTools("echo %s: missing library; exit 127"), "e2fsprogs", hostcheck.Failed, "missing library", "--reinstall"},
		"no cgroups":        {"umount -R /sys/fs/cgroup", "controllers", hostcheck.Failed, "no cgroup file system", "mount -t cgroup2"},
		"no memory controller": {
			"if test -e /sys/fs/cgroup/cgroup.controllers; then echo cpu cpuset >$DIR/c; mount --bind $DIR/c /sys/fs/cgroup/cgroup.controllers; " +
				"else umount /sys/fs/cgroup/memory; fi", "controllers", hostcheck.Failed, "memory", "cgroup_enable=memory",
		},
		"CNI plugins": {
			cniPlugins + `set -- "$@" --cni-path $DIR/cni`, "cni plugins", hostcheck.OK, "with CNI 1.0.0", "",
		},
		"a broken CNI plugin": {
			cniPlugins + `echo exit 1 > $DIR/cni/portmap; set -- "$@" --cni-path $DIR/cni`, "cni plugins", hostcheck.Warning, "portmap", "apt-get",
		},
		"cgroups v2": {
			cgroupsV2("cpuset cpu io memory pids"), "controllers", hostcheck.OK, "v2, with cpu, cpuset, memory", "",
		},
		"cgroups v2 without memory": {
			cgroupsV2("cpuset cpu io pids"), "controllers", hostcheck.Failed, "v2: /sys/fs/cgroup: controllers are missing: memory", "cgroup_enable=memory",
		},
		"no CNI plugins": {"", "cni plugins", hostcheck.Warning, "bridge networks do not work", "containernetworking-plugins\nadd cni_path = "},
		"no CNI plugins in the default directory": {
			`test ! -e /opt || mount -t tmpfs none /opt; set -- "$@" --cni-path ""`, "cni plugins", hostcheck.Warning,
			"if the agent has another cni_path, check it with --cni-path DIR", `add cni_path = "/usr/lib/cni"`,
		},
		"broken CNI network": {
			"mkdir $DIR/cni; echo { >$DIR/cni/a.conflist; set -- \"$@\" --cni-config-dir $DIR/cni", "cni networks", hostcheck.Warning, "a.conflist", "",
		},
		"CNI network": {
			`mkdir $DIR/cni; echo '{"name":"blue"}' >$DIR/cni/a.conflist; set -- "$@" --cni-config-dir $DIR/cni`,
			"cni networks", hostcheck.OK, "cni/blue", "",
		},
		"taken IDs": {
			"cp /etc/passwd $DIR/p; echo mallory:x:1879048200:1:::/bin/sh >>$DIR/p; mount --bind $DIR/p /etc/passwd",
			"ids", hostcheck.Failed, "mallory", "",
		},
		"no agent":              {"", "agent", hostcheck.Info, "no agent runs", ""},
		"agent of another user": {startPrograms + "start_agent setpriv --reuid 65534", "agent", hostcheck.Failed, "runs as user 65534", ""},
		"agent":                 {startPrograms + "start_agent env", "agent", hostcheck.OK, "the agent runs as process ", ""},
		"agent with a proxy": {
			startPrograms + "start_agent env http_proxy=http://proxy:1", "proxies", hostcheck.Info, "of the agent: http_proxy=http://proxy:1", "",
		},
		"no driver":       {startPrograms + "start_agent env", "driver", hostcheck.Warning, "does not run the driver", "plugin \"nomad-driver-lkl\""},
		"driver":          {startPrograms + "start_agent env; start_driver", "driver", hostcheck.OK, "runs as process", ""},
		"upgraded driver": {startPrograms + "start_agent env; start_driver; rm nomad-driver-lkl", "driver", hostcheck.Warning, "replaced", "systemctl restart nomad"},
		"proxy":           {"export HTTPS_PROXY=http://user:secret@proxy:3128", "proxies", hostcheck.Info, "HTTPS_PROXY=http://xxxxx@proxy:3128", ""},
	} {
		t.Run(name, func(t *testing.T) {
			status, report := runDoctor(t, c.script, "--cni-path", "/missing")
			got := report.find(t, c.check)
			must.Eq(t, c.status, got.Status, must.Sprintf("%+v", got))
			must.StrContains(t, got.Detail, c.detail)
			must.StrContains(t, got.Fix, c.fix)
			must.Eq(t, report.Status == hostcheck.Failed, status == exitFailed, must.Sprint(report.faults()))
			must.Eq(t, report.Status, hostcheck.Worst(report.Status, c.status))
		})
	}
}

func TestDoctor_WorksWithoutRoot(t *testing.T) {
	testenv.Need(t, testenv.Root)
	program, err := os.Open(testenv.LKL(t)) // the user may not be able to enter its directory
	must.NoError(t, err)
	defer program.Close()
	const nobody = 65534
	cmd := exec.Command("/proc/self/fd/3", "doctor", "--json")
	cmd.ExtraFiles = []*os.File{program}
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	report := decodeDoctor(t, cmd)
	must.Eq(t, exitOK, cmd.ProcessState.ExitCode(), must.Sprint(report.faults()))
	must.Eq(t, hostcheck.Warning, report.find(t, "user").Status)
	must.Eq(t, hostcheck.Skipped, report.find(t, "connection").Status)
	must.Eq(t, hostcheck.OK, report.find(t, "guest").Status)
	must.Eq(t, hostcheck.OK, report.find(t, "build").Status)
}

func TestDoctor_LogsInToRegistries(t *testing.T) {
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	_, host, _ := strings.Cut(server.URL, "://")
	for options, want := range map[string]hostcheck.Status{"": hostcheck.Failed, "--plain-http": hostcheck.OK} {
		args := append([]string{"doctor", "--json", "--state-dir", t.TempDir(), "--registry", host}, strings.Fields(options)...)
		status, stdout, stderr := runProgram(args...)
		must.Eq(t, "", stderr)
		var report diagnosis
		must.NoError(t, json.Unmarshal([]byte(stdout), &report))
		must.Eq(t, want, report.find(t, host).Status, must.Sprint(report.faults()))
		if want == hostcheck.Failed {
			must.Eq(t, exitFailed, status)
			must.StrContains(t, report.find(t, host).Detail, "use --plain-http")
		}
	}
	_, stdout, _ := runProgram("doctor", "--json", "--state-dir", t.TempDir(), "--plain-http", "--image", host+"/missing:1")
	must.StrContains(t, stdout, "not found")
}

func TestDoctor_PrintsAlignedText(t *testing.T) {
	_, stdout, stderr := runProgram("doctor", "--state-dir", filepath.Join(t.TempDir(), "state"))
	must.Eq(t, "", stderr)
	lines := strings.Split(stdout, "\n")
	must.Eq(t, "Host", lines[0])
	column := -1
	for _, line := range lines[1:4] {
		must.StrHasPrefix(t, "  ", line)
		const names = 11 // two blanks, the status, two blanks
		if !strings.HasPrefix(line[names:], " ") {
			begin := names + strings.Index(line[names:], "  ")
			begin += len(line[begin:]) - len(strings.TrimLeft(line[begin:], " "))
			must.True(t, column == -1 || column == begin, must.Sprint(stdout))
			column = begin
		}
	}
	must.StrContains(t, stdout, " failed, ")
}

func TestDoctor_RefusesWrongOptions(t *testing.T) {
	for line, says := range map[string]string{
		"operand":                     "unexpected argument",
		"--state-dir relative":        "must be an absolute path",
		"--image oci:dir":             "not in a registry",
		"--image UPPER":               "lowercase",
		"--registry not/a/host@":      "--registry",
		"--frob":                      "frob",
		"--username somebody":         "--password-stdin",
		"--plain-http --skip-verify":  "excludes",
		"--registry a.b --ca-file /x": "ca_file",
	} {
		status, stdout, stderr := runProgram(append([]string{"doctor"}, strings.Fields(line)...)...)
		must.Eq(t, exitUsage, status, must.Sprint(line, stderr))
		must.Eq(t, "", stdout)
		must.StrContains(t, stderr, says)
	}
}

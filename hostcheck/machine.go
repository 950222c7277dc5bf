// SPDX-License-Identifier: MPL-2.0

package hostcheck

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/files/jail"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/landlock"
	"github.com/lkl-nomad/nomad-driver-lkl/tender/spt"
)

// errNotRoot means that this process, or the Nomad client, is not root.
var errNotRoot = errors.New("the Nomad client does not run as root: the driver needs root for namespaces, taps and control groups")

func supported() error {
	if err := supportedPlatform(); err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errNotRoot
	}
	return nil
}

func supportedPlatform() error {
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		return fmt.Errorf("unikernels run on linux/amd64 only, not on %s/%s", runtime.GOOS, runtime.GOARCH)
	}
	return nil
}

// checkUser reports which checks this user can make.
func checkUser(context.Context) Finding {
	if os.Geteuid() != 0 {
		return warning("sudo "+strings.Join(os.Args, " "), "not root: the checks that need root are skipped")
	}
	return ok("root")
}

// minKernel is the oldest supported version of Linux: 5.9 has FSGSBASE, close_range(2)
// and the other system calls of the tender.
var minKernel = [2]int{5, 9}

func checkKernel(context.Context) Finding {
	if err := supportedPlatform(); err != nil {
		return failed("", "%v", err)
	}
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return failed("", "read the kernel's version: %v", err)
	}
	return judgeKernel(unix.ByteSliceToString(u.Release[:]))
}

func judgeKernel(release string) Finding {
	version := kernelVersion(release)
	if version[0] < minKernel[0] || version[0] == minKernel[0] && version[1] < minKernel[1] {
		return failed("apt-get install linux-image-amd64 && reboot",
			"Linux %s is too old: the tender needs Linux %d.%d", release, minKernel[0], minKernel[1])
	}
	return ok("Linux %s", release)
}

// kernelVersion returns the first two numbers of a release such as "6.1.0-44-amd64". It
// returns zeros for another format.
func kernelVersion(release string) (version [2]int) {
	parts := strings.SplitN(release, ".", 3)
	if len(parts) < 2 {
		return version
	}
	minor, _, _ := strings.Cut(parts[1], "-")
	for i, s := range []string{parts[0], minor} {
		version[i], _ = strconv.Atoi(s)
	}
	return version
}

// checkSeccomp names the cause if checkGuest fails for lack of seccomp.
func checkSeccomp(context.Context) Finding {
	const file, action = "/proc/sys/kernel/seccomp/actions_avail", "kill_process"
	content, err := os.ReadFile(file)
	if err != nil || !strings.Contains(string(content), action) {
		return failed("apt-get install linux-image-amd64 && reboot",
			"the kernel has no seccomp filters with the action %s: it needs CONFIG_SECCOMP_FILTER", action)
	}
	return ok("filters with the action %s", action)
}

func checkGuest(ctx context.Context) Finding {
	if err := runSPT(ctx); err != nil {
		return failed("", "the spt tender cannot run a guest: %v", err)
	}
	return ok("a guest ran in the spt tender")
}

func checkLandlock(context.Context) Finding {
	version := landlock.Version()
	if version == 0 {
		modules, _ := os.ReadFile("/sys/kernel/security/lsm") // of the running kernel
		return warning(setKernelParameter("lsm="+strings.Trim("landlock,"+strings.TrimSpace(string(modules)), ",")),
			"the driver's helper processes are confined less: %v", landlock.ErrUnsupported)
	}
	return ok("version %d", version)
}

// checkLiveFiles makes the root directory of a file server, in namespaces that vanish.
func checkLiveFiles(context.Context) Finding {
	if err := jail.Check(); err != nil {
		return failed("", "the file servers of live directories cannot be confined: %v", err)
	}
	return ok("a file server can be confined")
}

// setKernelParameter returns the commands that add a parameter on Debian.
func setKernelParameter(parameter string) string {
	return `sed -i 's/^GRUB_CMDLINE_LINUX="/&` + parameter + ` /' /etc/default/grub && update-grub && reboot`
}

func checkFSGSBase(context.Context) Finding {
	if !spt.HostHasFSGSBase() {
		return warning("", "guests with threads run slower: the processor, or the kernel's parameter nofsgsbase, "+
			"keeps programs from setting the register FS")
	}
	return ok("programs can set the register FS")
}

func checkKVM(context.Context) Finding {
	if err := createVM(); err != nil {
		return info("not available, and not needed by the spt tender: %v", err)
	}
	return info("available; the spt tender does not use it")
}

// checkClock reports a clock that makes valid certificates of registries look expired.
func checkClock(context.Context) Finding {
	now := time.Now().UTC().Format(time.RFC3339)
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	switch {
	case err != nil:
		return skipped("read the state of the clock: %v", err)
	case state == unix.TIME_ERROR || t.Status&unix.STA_UNSYNC != 0:
		return warning("apt-get install chrony",
			"%s, not synchronized: with a wrong time, certificates of registries are not valid", now)
	}
	return ok("%s, synchronized", now)
}

// The UIDs and GIDs that the driver uses. Those of guests and executors begin at firstID.
// Those of the tools for disk images end at lastID.
const (
	firstID = 0x7000_0000
	lastID  = 0x70bf_ffff
)

// checkIDs looks for users and groups of the host with IDs that the driver uses.
func checkIDs(context.Context) Finding {
	var taken []string
	for _, file := range []struct {
		path         string
		first, count int // fields with the first ID and the number of IDs, or 0 for 1
	}{
		{"/etc/passwd", 2, 0}, {"/etc/group", 2, 0}, {"/etc/subuid", 1, 2}, {"/etc/subgid", 1, 2},
	} {
		content, err := os.ReadFile(file.path)
		if err != nil {
			continue // a host without this file has no such users
		}
		for _, name := range namesInRange(string(content), file.first, file.count) {
			taken = append(taken, name+" in "+file.path)
		}
	}
	if taken != nil {
		return failed("", "guests and tools run as the users %d to %d, which must not belong to others: %s",
			firstID, lastID, strings.Join(taken, ", "))
	}
	return ok("no other user has an ID from %d to %d", firstID, lastID)
}

// namesInRange returns the names of the lines of a file such as /etc/passwd whose IDs
// overlap with those of the driver.
func namesInRange(content string, first, count int) []string {
	var names []string
	for line := range strings.Lines(content) {
		fields := strings.Split(strings.TrimSpace(line), ":")
		if len(fields) <= max(first, count) {
			continue
		}
		begin, err := strconv.ParseUint(fields[first], 10, 33)
		if err != nil {
			continue
		}
		size := uint64(1)
		if count > 0 {
			if size, err = strconv.ParseUint(fields[count], 10, 33); err != nil || size == 0 {
				continue
			}
		}
		if begin <= lastID && begin+size-1 >= firstID {
			names = append(names, fields[0])
		}
	}
	return names
}

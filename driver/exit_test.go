// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"syscall"
	"testing"

	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/executor"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
)

func TestNomadExit_FollowsTheShellsConvention(t *testing.T) {
	for _, c := range []struct {
		name string
		exit executor.Exit
		want drivers.ExitResult
		err  string
	}{
		{"success", executor.Exit{Reason: "exited with 0"}, drivers.ExitResult{}, ""},
		{"status", executor.Exit{Code: 3, Reason: "exited with 3"}, drivers.ExitResult{ExitCode: 3}, "exited with 3"},
		{"signal", executor.Exit{Signal: 11, Reason: "guest fault"}, drivers.ExitResult{ExitCode: 139, Signal: 11}, "guest fault"},
		{
			"out of memory",
			executor.Exit{Signal: 9, OOMKilled: true, Reason: "out of memory"},
			drivers.ExitResult{ExitCode: 137, Signal: 9, OOMKilled: true},
			"out of memory",
		},
		{"killed", executor.Exit{Signal: 9, Reason: "killed"}, drivers.ExitResult{ExitCode: 137, Signal: 9}, "killed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := nomadExit(c.exit)
			must.Eq(t, c.err == "", got.Successful())
			if c.err != "" {
				must.EqError(t, got.Err, c.err)
				got.Err = nil
			}
			must.Eq(t, c.want, *got)
		})
	}
}

func TestExplainExit_ExplainsTheStatusesOfALinuxGuest(t *testing.T) {
	lkl, solo5 := string(unikernel.FlavorLKL), string(unikernel.FlavorSolo5)
	for _, c := range []struct {
		name, flavor string
		exit         executor.Exit
		want         string
	}{
		{"first", lkl, executor.Exit{Code: 121, Reason: "exited with 121"}, "exited with 121: its configuration"},
		{"last", lkl, executor.Exit{Code: 125, Reason: "exited with 125"}, "exited with 125: its program called reboot, unless"},
		{"the program's", lkl, executor.Exit{Code: 1, Reason: "exited with 1"}, "exited with 1"},
		{
			"with a message", lkl,
			executor.Exit{Code: 122, Reason: "exited with 122", Message: "lkl: no disk"},
			"exited with 122: it cannot mount a file system: no disk",
		},
		{
			"out of memory", lkl,
			executor.Exit{Code: 137, Reason: "exited with 137", Message: "lkl: out of memory"},
			"exited with 137: out of memory",
		},
		{
			"panic", lkl,
			executor.Exit{Code: 255, Reason: "exited with 255", Message: "Kernel panic - not syncing: x"},
			"exited with 255: Kernel panic - not syncing: x",
		},
		{"killed by its program", lkl, executor.Exit{Code: 143, Reason: "exited with 143"}, "exited with 143"},
		{"an old message", lkl, executor.Exit{Code: 1, Reason: "exited with 1", Message: "lkl: unknown key"}, "exited with 1"},
		{"success", lkl, executor.Exit{Reason: "exited with 0"}, "exited with 0"},
		{"another flavor", solo5, executor.Exit{Code: 122, Reason: "exited with 122"}, "exited with 122"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := explainExit(c.flavor, c.exit)
			must.StrHasPrefix(t, c.want, got)
			must.Eq(t, c.want == c.exit.Reason, got == c.exit.Reason)
		})
	}
}

// collect receives a plugin's events.
func collect(t *testing.T, d *Driver) <-chan *drivers.TaskEvent {
	events, err := d.TaskEvents(t.Context())
	must.NoError(t, err)
	received := make(chan *drivers.TaskEvent, maxEvents)
	go func() {
		for {
			select {
			case e := <-events:
				received <- e
			case <-t.Context().Done():
				return
			}
		}
	}()
	return received
}

func TestEvents_ReportUnexpectedEnds(t *testing.T) {
	d := testDriver(t)
	events := collect(t, d)
	task := plainTask()

	end := func(exit executor.Exit, stopRequested bool) {
		h := d.newHandle(task, taskState{Flavor: string(unikernel.FlavorLKL)}, nil)
		if stopRequested {
			h.requestStop()
		}
		d.recordExit(h, exit)
		<-h.ended
	}
	end(executor.Exit{Reason: "exited with 0"}, false)                                   // no event
	end(executor.Exit{Signal: int(syscall.SIGTERM), Reason: "stopped by SIGTERM"}, true) // no event
	end(executor.Exit{Signal: 31, Reason: "forbidden system call (SIGSYS)"}, false)      // an event
	end(executor.Exit{Code: 122, Reason: "exited with 122"}, false)                      // an event
	end(executor.Exit{Signal: 9, OOMKilled: true, Reason: "out of memory"}, true)        // an event
	end(executor.Exit{Reason: "exited with 0", Dropped: 4096}, false)                    // an event
	d.reportDropped(d.newHandle(task, taskState{}, nil), 0)                              // nothing
	d.events.emit(task, "last", nil)

	first := testenv.Receive(t, events)
	must.Eq(t, task.ID, first.TaskID)
	must.Eq(t, "Unikernel forbidden system call (SIGSYS)", first.Message)
	must.Eq(t, "31", first.Annotations["signal"])
	must.StrContains(t, testenv.Receive(t, events).Message, "it cannot mount a file system")
	oom := testenv.Receive(t, events)
	must.StrContains(t, oom.Message, "its limit of 64 MiB")
	must.Eq(t, "67108864", oom.Annotations["limit_bytes"])
	must.StrContains(t, testenv.Receive(t, events).Message, "4096 bytes")
	must.Eq(t, "last", testenv.Receive(t, events).Message)
}

func TestEvents_StalledAgentBlocksNoTask(t *testing.T) {
	d := testDriver(t)
	_, err := d.TaskEvents(t.Context()) // without a reader
	must.NoError(t, err)
	emitted := make(chan bool, 1)
	go func() {
		for range 2 * maxEvents {
			d.events.emit(plainTask(), "again", nil)
		}
		emitted <- true
	}()
	must.True(t, testenv.Receive(t, emitted))
}

func TestReportDropped_ReportsEachLossOnce(t *testing.T) {
	d := testDriver(t)
	events := collect(t, d)
	h := d.newHandle(plainTask(), taskState{}, nil)
	for _, total := range []uint64{10, 10, 25, 25} {
		d.reportDropped(h, total)
	}
	d.events.emit(h.task, "last", nil)
	must.StrContains(t, testenv.Receive(t, events).Message, "10 bytes")
	must.StrContains(t, testenv.Receive(t, events).Message, "25 bytes")
	must.Eq(t, "last", testenv.Receive(t, events).Message)
}

func TestReportFilesEnded_ReportsTheEndOnce(t *testing.T) {
	d := testDriver(t)
	events := collect(t, d)
	h := d.newHandle(plainTask(), taskState{}, nil)
	for _, how := range []string{"", "killed by SIGKILL", "killed by SIGKILL"} {
		d.reportFilesEnded(h, how)
	}
	d.recordExit(h, executor.Exit{Reason: "exited with 0", FilesEnded: "killed by SIGKILL"})
	d.events.emit(h.task, "last", nil)
	event := testenv.Receive(t, events)
	must.Eq(t, "The file server ended (killed by SIGKILL): files in live directories and volumes return EIO until the task restarts",
		event.Message)
	must.Eq(t, "killed by SIGKILL", event.Annotations["file_server"])
	must.Eq(t, "last", testenv.Receive(t, events).Message)
}

func TestAttributes_LeaveOutEmptyValues(t *testing.T) {
	must.MapNotContainsKey(t, taskState{}.attributes(), "ip")
	must.Eq(t, "172.26.64.5", taskState{IP: "172.26.64.5", Tap: "lkl0"}.attributes()["ip"]) // of an earlier plugin
}

func TestAttributes_NameTheDevicesBeyondTheFirst(t *testing.T) {
	all := taskState{Links: []link{
		{Device: "spare", Mode: modeNone, Tap: "lkl0"},
		{Device: "tap", Mode: modeShared, Interface: "eth0", IP: "172.26.64.5", IPv6: "fd00::5"},
		{Device: "tap2", Mode: modeShared, Interface: "eth1", IPv6: "fd00:1::5"},
	}}.attributes()
	for name, want := range map[string]string{
		"spare.network_mode": "none", "spare.tap": "lkl0", "network_mode": "shared", "interface": "eth0",
		"ip": "172.26.64.5", "ipv6": "fd00::5", "tap2.interface": "eth1", "tap2.ip": "fd00:1::5",
	} {
		must.Eq(t, want, all[name], must.Sprint(name))
	}
	must.Eq(t, "none", taskState{Links: []link{{Device: "tap", Mode: modeNone}}}.attributes()["network_mode"])
}

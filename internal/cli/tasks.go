// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lkl-nomad/nomad-driver-lkl/executor"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/bytesize"
	"github.com/lkl-nomad/nomad-driver-lkl/network"
)

const tasksUsage = `usage: PROGRAM tasks [--json] [--state-dir DIR]

Lists the driver's tasks on this host with their networks: a line for each net device, and
one for a task without any. PID is the process of a running guest, which ps shows as
[spt-guest]. RECEIVED and SENT are the bytes that the guest has exchanged since it
started. DROPPED is the number of packets in both directions that exceeded its
bandwidth, that it must not send, or for which it was too slow.

Options:

  --json                    print a JSON array with all properties, also packets
` + stateDirUsage

// A listedTask is a task in the driver's state directory.
type listedTask struct {
	Task    string       `json:"task"` // Nomad's task ID
	Alloc   string       `json:"alloc"`
	Name    string       `json:"name"`
	Created time.Time    `json:"created"`
	Running bool         `json:"running"`
	PID     int          `json:"pid,omitempty"` // of the guest, while it runs
	Links   []listedLink `json:"links"`
}

// A listedLink is a net device of a task.
type listedLink struct {
	Device    string          `json:"device"`
	Mode      string          `json:"mode"`
	Netns     string          `json:"netns,omitempty"`
	Interface string          `json:"interface,omitempty"`
	Tap       string          `json:"tap,omitempty"`
	IP        string          `json:"ip,omitempty"`
	IPv6      string          `json:"ipv6,omitempty"`
	MAC       string          `json:"mac,omitempty"`
	Counters  *listedCounters `json:"counters,omitempty"` // nil if they cannot be read
}

// listedCounters have the fields of network.Counters.
type listedCounters struct {
	ReceivedPackets uint64 `json:"received_packets"`
	ReceivedBytes   uint64 `json:"received_bytes"`
	SentPackets     uint64 `json:"sent_packets"`
	SentBytes       uint64 `json:"sent_bytes"`
	DroppedPackets  uint64 `json:"dropped_packets"`
}

func tasksCommand(e *Env, args []string) int {
	var store storeFlags
	flags := newFlags()
	store.define(flags)
	asJSON := flags.Bool("json", false, "")
	operands, status, done := e.parse(flags, args)
	if done {
		return status
	}
	if len(operands) > 0 {
		return e.usageError(fmt.Errorf("unexpected argument %q", operands[0]))
	}
	tasks, err := store.tasks()
	if err != nil {
		return e.fail(exitFailed, err)
	}
	write := writeTasks
	if *asJSON {
		write = func(e *Env, tasks []listedTask) error { return writeJSON(e.Stdout, tasks) }
	}
	if err := write(e, tasks); err != nil {
		return e.fail(exitUnwritten, err)
	}
	return exitOK
}

// tasks returns the tasks in the state directory, the oldest first.
func (s *storeFlags) tasks() ([]listedTask, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("only root can read the driver's state: run the command as root, such as with sudo")
	}
	dir, err := filepath.Abs(s.stateDir)
	if err == nil {
		err = checkStateDir(dir)
	}
	if err != nil {
		return nil, fmt.Errorf("--state-dir %s: %w", s.stateDir, err)
	}
	entries, err := os.ReadDir(filepath.Join(dir, "tasks"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	tasks := []listedTask{} // [] instead of null
	for _, entry := range entries {
		t, err := readTask(filepath.Join(dir, "tasks", entry.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue // the driver has just removed it
		}
		if err != nil {
			return nil, err
		}
		tasks = append(tasks, t)
	}
	slices.SortFunc(tasks, func(a, b listedTask) int { return a.Created.Compare(b.Created) })
	return tasks, nil
}

// readTask reads the driver's record of a task, whose keys are those of the JSON output in
// upper and lower case, and the counters of its taps.
func readTask(dir string) (t listedTask, err error) {
	path := filepath.Join(dir, "task.json")
	content, err := os.ReadFile(path)
	if err != nil {
		return t, err
	}
	var other struct{ AllocID, Netns, Tap string }
	if err := errors.Join(json.Unmarshal(content, &t), json.Unmarshal(content, &other)); err != nil {
		return t, fmt.Errorf("%s: %w", path, err)
	}
	t.Alloc = other.AllocID
	if len(t.Links) == 0 && other.Tap != "" { // version 1 of the record
		t.Links = []listedLink{{Mode: "l2", Netns: other.Netns, Tap: other.Tap}}
	}
	identity, err := executor.ReadIdentity(dir)
	if t.Running = err == nil && identity.Guest.Alive(); t.Running {
		t.PID = identity.Guest.Pid
	}
	for i := range t.Links {
		if t.Running { // another guest may have a tap of the same name otherwise
			t.Links[i].readCounters()
		}
	}
	return t, nil
}

// readCounters reads the counters of a tap. One that leads nowhere is in a namespace without
// a name.
func (l *listedLink) readCounters() {
	if l.Tap == "" || l.Mode == "none" {
		return
	}
	if c, err := network.ReadCounters(l.Netns, l.Tap); err == nil {
		counters := listedCounters(c)
		l.Counters = &counters
	}
}

func writeTasks(e *Env, tasks []listedTask) error {
	return writeTable(e.Stdout, func(line func(string, ...any)) {
		line("ALLOC\tTASK\tSTATE\tPID\tDEVICE\tMODE\tTAP\tADDRESSES\tRECEIVED\tSENT\tDROPPED")
		for _, t := range tasks {
			state, pid := "ended", "-"
			if t.Running {
				state, pid = "running", strconv.Itoa(t.PID)
			}
			links := t.Links
			if len(links) == 0 {
				links = []listedLink{{}}
			}
			for _, l := range links {
				line("%s\t%s\t%s\t%s\t%s", printable(shortAlloc(t.Alloc)), printable(t.Name), state, pid, strings.Join(l.cells(), "\t"))
			}
		}
	})
}

// cells returns the columns of a link.
func (l listedLink) cells() []string {
	addresses := slices.DeleteFunc([]string{l.IP, l.IPv6}, func(ip string) bool { return ip == "" })
	cells := []string{l.Device, l.Mode, l.Tap, strings.Join(addresses, ","), "", "", ""}
	if c := l.Counters; c != nil {
		copy(cells[4:], []string{
			bytesize.Format(int64(c.ReceivedBytes)), bytesize.Format(int64(c.SentBytes)), fmt.Sprint(c.DroppedPackets),
		})
	}
	for i := range cells {
		if cells[i] = printable(cells[i]); cells[i] == "" {
			cells[i] = "-"
		}
	}
	return cells
}

// shortAlloc returns the digits of an alloc's ID that Nomad prints.
func shortAlloc(id string) string {
	short, _, _ := strings.Cut(id, "-")
	return short
}

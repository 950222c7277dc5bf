// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/nomad/plugins/drivers"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/executor/cgroup"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/atomicfile"
)

// recordVersion is the version of record. A new field needs no new version; a
// new kind of resource, which an older plugin would not release, does.
const recordVersion = 2

// A record lists the resources of a task, so that a later plugin can release
// them even if Nomad has forgotten the task or never heard of it.
type record struct {
	Version  int         `json:"Version"` // 0 before versions were recorded
	Task     string      `json:"Task"`    // Nomad's task ID
	AllocID  string      `json:"AllocID"`
	Name     string      `json:"Name"` // of the task in its group
	AllocDir string      `json:"AllocDir"`
	Netns    string      `json:"Netns"` // the alloc's; "" without one
	Tap      string      `json:"Tap"`   // only in version 1, for a tap in Netns
	Cgroup   cgroup.Spec `json:"Cgroup"`
	Created  time.Time   `json:"Created"`
	// Links are the guest's net devices. The driver adds them before it makes their taps.
	Links []link `json:"Links"`
}

// newRecord returns the record of a task that is about to start.
func newRecord(task *drivers.TaskConfig) (record, error) {
	spec, err := taskCgroup(task)
	if err != nil {
		return record{}, err
	}
	return record{
		Version: recordVersion,
		Task:    task.ID, AllocID: task.AllocID, Name: task.Name, AllocDir: task.AllocDir,
		Netns: netnsOf(task), Cgroup: spec, Created: time.Now(),
	}, nil
}

// sameTask reports whether two records are of the same task of the same alloc.
// Nomad gives each start of a task another ID.
func (r record) sameTask(o record) bool { return r.AllocID == o.AllocID && r.Name == o.Name }

// allLinks returns the links that the task may have. A record without links may be of
// version 1, or older than the links, whose devices are in the alloc's namespace.
func (r record) allLinks() []link {
	if len(r.Links) == 0 && r.Netns != "" {
		return []link{{Mode: modeL2, Netns: r.Netns, Tap: r.Tap}}
	}
	return r.Links
}

// write creates the record in the directory of a new task, and returns when its
// content is on disk. It needs no temporary name, because the directory still has
// one. (It does not sync the directory too, which would double the time of this
// step: a record that a power failure removes is of a task that the failure ended.)
func (r record) write(dir string) error {
	content, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode the record of task %s: %w", r.Task, err)
	}
	f, err := os.OpenFile(filepath.Join(dir, recordFile), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("create the record of task %s: %w", r.Task, err)
	}
	_, err = f.Write(content)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write the record of task %s: %w", r.Task, err)
	}
	return nil
}

// update replaces the record in a task's directory. It does not wait for the disk: the
// resources that it adds to the record do not outlive a power failure either.
func (r record) update(dir string) error {
	content, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode the record of task %s: %w", r.Task, err)
	}
	fd, err := atomicfile.LockDir(dir)
	if err != nil {
		return fmt.Errorf("update the record of task %s: %w", r.Task, err)
	}
	defer unix.Close(fd)
	if err := atomicfile.WriteAtNoSync(fd, recordFile, content, 0o600); err != nil {
		return fmt.Errorf("update the record of task %s: %w", r.Task, err)
	}
	return nil
}

// errNoRecord means that a task's directory has no usable record.
var errNoRecord = errors.New("no record")

// readRecord returns errNoRecord if the record is missing or cannot be decoded.
func readRecord(dir string) (record, error) {
	path := filepath.Join(dir, recordFile)
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return record{}, fmt.Errorf("%s: %w", path, errNoRecord)
	}
	if err != nil {
		return record{}, fmt.Errorf("read the record of a task: %w", err)
	}
	var r record
	if err := json.Unmarshal(content, &r); err != nil {
		return record{}, fmt.Errorf("%s: %w: %w", path, errNoRecord, err)
	}
	return r, nil
}

// readRecords returns the records of all tasks by directory. The record of a
// directory without a usable record is empty: such a task owns nothing outside
// of its directory. Either the host crashed, or a plugin from before version 1 of
// the record was killed before it wrote the record.
func readRecords(stateDir string) (map[string]record, error) {
	entries, err := os.ReadDir(tasksDir(stateDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list the task directories: %w", err)
	}
	records := make(map[string]record, len(entries))
	var errs []error
	for _, e := range entries {
		dir := filepath.Join(tasksDir(stateDir), e.Name())
		r, err := readRecord(dir)
		if err != nil && !errors.Is(err, errNoRecord) {
			errs = append(errs, err)
			continue
		}
		records[dir] = r
	}
	return records, errors.Join(errs...)
}

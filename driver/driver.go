// SPDX-License-Identifier: MPL-2.0

// Package driver is the Nomad task driver "lkl": it runs Linux Kernel Library
// unikernels, and any other Solo5 unikernel, as tasks.
//
// The plugin is stateless. Each task is held by an executor, a process that
// outlives the plugin, and all that the task owns is in one directory, one set
// of control groups and the executor's descriptors. start.go is the way of a
// task; recover.go finds tasks again.
package driver

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/nomad/plugins/base"
	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/hashicorp/nomad/plugins/shared/hclspec"

	"github.com/lkl-nomad/nomad-driver-lkl/disk"
	"github.com/lkl-nomad/nomad-driver-lkl/fingerprint"
)

const (
	// Name is what jobs call the driver.
	Name = "lkl"
	// Version is that of the plugin.
	Version = "0.1.0"
	// handleVersion is that of taskState.
	handleVersion = 1
	// fingerprintPeriod is how often the host is looked at for changes that
	// nothing else tells of.
	fingerprintPeriod = 30 * time.Second
)

// Driver is the plugin.
type Driver struct {
	ctx    context.Context // ends with the plugin
	log    hclog.Logger
	events *events

	config Config
	cpus   cpus

	tasks   tasks
	strays  strays
	kernels kernels
	sweep   sync.Once

	installing sync.Mutex
	executor   string // path of the installed program; "" before
}

var _ drivers.DriverPlugin = (*Driver)(nil)

// New returns the plugin. What it starts in the background ends with the
// context; tasks do not.
func New(ctx context.Context, log hclog.Logger) *Driver {
	log = log.Named(Name)
	return &Driver{
		ctx: ctx, log: log, events: newEvents(ctx, log),
		config: Config{StateDir: DefaultStateDir},
	}
}

// PluginInfo says what the plugin is.
func (d *Driver) PluginInfo() (*base.PluginInfoResponse, error) {
	return &base.PluginInfoResponse{
		Type:              base.PluginTypeDriver,
		PluginApiVersions: []string{drivers.ApiVersion010},
		PluginVersion:     Version,
		Name:              Name,
	}, nil
}

// ConfigSchema is the schema of the plugin's block in the agent's configuration.
func (d *Driver) ConfigSchema() (*hclspec.Spec, error) { return schema(pluginOptions), nil }

// TaskConfigSchema is the schema of a task's config block.
func (d *Driver) TaskConfigSchema() (*hclspec.Spec, error) { return schema(taskOptions), nil }

// Capabilities says what the driver can do.
func (d *Driver) Capabilities() (*drivers.Capabilities, error) { return capabilities, nil }

// SetConfig takes the plugin's configuration. Nomad calls it three times, each
// on a process of its own: twice to check the configuration, without
// AgentConfig.Driver, and once on the one that then runs tasks.
func (d *Driver) SetConfig(c *base.Config) error {
	config := Config{StateDir: DefaultStateDir}
	if len(c.PluginConfig) > 0 {
		if err := base.MsgPackDecode(c.PluginConfig, &config); err != nil {
			return fmt.Errorf("decode the plugin's config: %w", err)
		}
	}
	if err := config.validate(); err != nil {
		return err
	}
	d.config = config
	if c.AgentConfig == nil || c.AgentConfig.Driver == nil {
		return nil
	}
	var err error
	if d.cpus, err = readCPUs(os.DirFS("/")); err != nil {
		d.log.Warn("the CPU ticks of tasks will be reported as 0", "error", err)
	}
	d.sweep.Do(func() {
		if err := d.findStrays(); err != nil {
			d.log.Error("cannot look for tasks of an earlier plugin", "error", err)
		}
		go d.sweepKernelsForever(config.StateDir)
	})
	return nil
}

// Fingerprint sends what this host can run, now and whenever it changes.
func (d *Driver) Fingerprint(ctx context.Context) (<-chan *drivers.Fingerprint, error) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(d.ctx, cancel)
	context.AfterFunc(ctx, func() { stop() })
	host := fingerprint.LocalHost(d.executorInPlace, disk.Tools)
	return fingerprint.Watch(ctx, d.log, fingerprintPeriod, fingerprint.WatchDevices(ctx),
		func(ctx context.Context) *drivers.Fingerprint {
			return fingerprint.Read(ctx, Version, host)
		}), nil
}

func (d *Driver) executorInPlace() error {
	_, err := d.installExecutor()
	return err
}

// TaskEvents sends what happens to tasks that their owners should know.
func (d *Driver) TaskEvents(ctx context.Context) (<-chan *drivers.TaskEvent, error) {
	return d.events.TaskEvents(ctx)
}

func (d *Driver) taskLog(task *drivers.TaskConfig) hclog.Logger {
	return d.log.With("alloc_id", task.AllocID, "task_name", task.Name)
}

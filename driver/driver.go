// SPDX-License-Identifier: MPL-2.0

// Package driver is the Nomad task driver "lkl". It runs Linux Kernel Library
// unikernels, and any other Solo5 unikernel, as tasks.
//
// The plugin is stateless. Each task has an executor, a process that outlives the
// plugin. A task owns one directory, one set of control groups and its executor's
// descriptors. StartTask shows the steps from a job to a running guest. RecoverTask
// finds running guests again.
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
	"github.com/lkl-nomad/nomad-driver-lkl/executor"
	"github.com/lkl-nomad/nomad-driver-lkl/fingerprint"
	"github.com/lkl-nomad/nomad-driver-lkl/hostcheck"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/version"
	"github.com/lkl-nomad/nomad-driver-lkl/network"
)

const (
	// Name is the driver's name in a job.
	Name = "lkl"
	// fingerprintPeriod is the time between checks of the host for changes that
	// cause no event.
	fingerprintPeriod = 30 * time.Second
)

// Driver is the plugin.
type Driver struct {
	ctx    context.Context // ends with the plugin
	log    hclog.Logger
	events *events

	config Config
	cpus   cpus

	tasks   taskTable
	strays  strays
	kernels kernelCache
	images  images
	sweeps  sync.WaitGroup // of the state directory
	sweep   sync.Once      // starts the sweeps

	install    Installer
	installing sync.Mutex
	programs   map[string]installedProgram // by name; see executors.go
}

// An Installer installs one of the programs that run a task, executor.Program or
// files.Program, in a state directory and returns its path.
type Installer func(stateDir, program string) (path string, err error)

var _ drivers.DriverPlugin = (*Driver)(nil)

// New returns the plugin. Its goroutines end with the context. Tasks run on.
func New(ctx context.Context, log hclog.Logger, install Installer) *Driver {
	log = log.Named(Name)
	d := &Driver{ctx: ctx, log: log, events: newEvents(ctx, log), install: install, programs: map[string]installedProgram{}}
	d.images.unused = make(chan struct{}, 1)
	d.use(defaultConfig())
	return d
}

// Wait returns when the sweeps of the state directory have ended, after the context has.
// A plugin that ends earlier leaves a removal unfinished, and the next one must repeat it.
func (d *Driver) Wait() { d.sweeps.Wait() }

// use sets the configuration, which must be valid.
func (d *Driver) use(config Config) {
	d.config = config
	d.kernels.dir = kernelsDir(config.StateDir)
}

// PluginInfo returns the type, name and version of the plugin.
func (d *Driver) PluginInfo() (*base.PluginInfoResponse, error) {
	return &base.PluginInfoResponse{
		Type:              base.PluginTypeDriver,
		PluginApiVersions: []string{drivers.ApiVersion010},
		PluginVersion:     version.Version,
		Name:              Name,
	}, nil
}

// ConfigSchema returns the schema of the plugin's block in the agent's
// configuration.
func (d *Driver) ConfigSchema() (*hclspec.Spec, error) { return schema(pluginOptions), nil }

// TaskConfigSchema returns the schema of a task's config block.
func (d *Driver) TaskConfigSchema() (*hclspec.Spec, error) { return schema(taskOptions), nil }

// Capabilities returns the abilities of the driver.
func (d *Driver) Capabilities() (*drivers.Capabilities, error) { return capabilities, nil }

// SetConfig sets the plugin's configuration. Nomad calls it in three plugin
// processes: in two without AgentConfig.Driver, to check the configuration, and
// in the one that runs tasks.
func (d *Driver) SetConfig(c *base.Config) error {
	config := defaultConfig()
	if len(c.PluginConfig) > 0 {
		if err := base.MsgPackDecode(c.PluginConfig, &config); err != nil {
			return fmt.Errorf("decode the plugin's config: %w", err)
		}
	}
	if err := config.validate(); err != nil {
		return err
	}
	d.use(config)
	if c.AgentConfig == nil || c.AgentConfig.Driver == nil {
		return nil
	}
	var err error
	if d.cpus, err = readCPUs(os.DirFS("/")); err != nil {
		d.log.Warn("the CPU ticks of tasks will be reported as 0", "error", err)
	}
	d.sweep.Do(func() {
		if err := d.findStrays(); err != nil {
			d.log.Error("cannot list the tasks of an earlier plugin", "error", err)
		}
		d.sweeps.Go(d.sweepForever)
		d.sweeps.Go(d.sweepUnusedForever)
		d.sweeps.Go(d.collectImagesForever)
	})
	return nil
}

// Fingerprint sends the host's ability to run guests, now and after each change.
func (d *Driver) Fingerprint(ctx context.Context) (<-chan *drivers.Fingerprint, error) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(d.ctx, cancel)
	context.AfterFunc(ctx, func() { stop() })
	host := hostcheck.LocalHost(d.probes())
	return fingerprint.Watch(ctx, d.log, fingerprintPeriod, hostcheck.WatchDevices(ctx),
		func(ctx context.Context) *drivers.Fingerprint {
			return fingerprint.Read(ctx, version.Version, host)
		}), nil
}

func (d *Driver) probes() hostcheck.DriverProbes {
	return hostcheck.DriverProbes{
		StateDir: d.checkStateDir, Executor: d.checkExecutor, Ext4: disk.CheckTools,
		Connect: d.checkNetwork, Share: d.checkSharing, Translate: d.checkHostNetwork,
	}
}

// checkStateDir returns an error if the state directory cannot be used.
func (d *Driver) checkStateDir() error { return checkStateDir(d.config.StateDir) }

// checkNetwork returns an error if the kernel cannot connect a guest to a network.
func (d *Driver) checkNetwork() error {
	return network.CheckHost(network.Options{
		Offload: true, AllowSpoofing: d.config.AllowSpoofing, BlockMetadata: d.config.blocksMetadata(modeL2),
	})
}

// checkSharing returns an error if the kernel cannot share an interface between tasks.
func (d *Driver) checkSharing() error {
	return network.CheckSharing(network.Options{
		Offload: true, AllowSpoofing: d.config.AllowSpoofing, BlockMetadata: d.config.blocksMetadata(modeShared),
	})
}

// checkHostNetwork returns an error if guests cannot use the host's network.
func (d *Driver) checkHostNetwork() error {
	if !d.config.HostNetwork.Enabled {
		return hostcheck.ErrForbidden
	}
	return network.CheckTranslation(network.Options{
		Offload: true, AllowSpoofing: d.config.AllowSpoofing, BlockMetadata: d.config.blocksMetadata(modeHost),
	})
}

// checkExecutor returns an error if the executor's program cannot be installed.
func (d *Driver) checkExecutor() error {
	_, err := d.installedProgram(executor.Program)
	return err
}

// TaskEvents sends the events of all tasks.
func (d *Driver) TaskEvents(ctx context.Context) (<-chan *drivers.TaskEvent, error) {
	return d.events.TaskEvents(ctx)
}

func (d *Driver) taskLog(task *drivers.TaskConfig) hclog.Logger {
	return d.log.With("alloc_id", task.AllocID, "task_name", task.Name)
}

// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/nomad/nomad/structs"
	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"
	"github.com/vishvananda/netlink"

	"github.com/lkl-nomad/nomad-driver-lkl/network"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// BenchmarkNetworkModes measures StartTask and DestroyTask in every network mode in turn, so
// that other work of the machine slows all of them. It reports the medians.
func BenchmarkNetworkModes(b *testing.B) {
	testenv.Need(b, testenv.Root, testenv.Tun)
	if links, err := netlink.LinkList(); err != nil || len(links) > 1 {
		b.Skip("host mode changes the network of this process: run unshare --net go test ...")
	}
	addUplink(b)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	d := New(ctx, hclog.NewNullLogger(), builtPrograms(b))
	d.use(Config{
		StateDir: b.TempDir(), ImagePaths: []string{guestDir(b)},
		HostNetwork: HostNetwork{Enabled: true, Subnet6: network.DefaultHostSubnet6.String()},
	})
	alloc := newTestNetwork(b)
	modes := []networkMode{modeNone, modeL2, modeShared, modeHost}
	starts, ends := map[networkMode][]time.Duration{}, map[networkMode][]time.Duration{}
	for b.Loop() {
		for _, mode := range modes {
			task, firstByte := modeTask(b, mode, alloc)
			begin := time.Now()
			_, _, err := d.StartTask(task)
			starts[mode] = append(starts[mode], time.Since(begin))
			must.NoError(b, err)
			<-firstByte
			begin = time.Now()
			must.NoError(b, d.DestroyTask(task.ID, true))
			ends[mode] = append(ends[mode], time.Since(begin))
		}
	}
	median := func(all []time.Duration) float64 {
		slices.Sort(all)
		return float64(all[len(all)/2].Microseconds()) / 1000
	}
	for _, mode := range modes {
		b.ReportMetric(median(starts[mode]), "start-"+string(mode)+"-ms")
		b.ReportMetric(median(ends[mode]), "destroy-"+string(mode)+"-ms")
	}
	b.ReportMetric(0, "ns/op")
}

// modeTask prepares a task with a port.
func modeTask(b *testing.B, mode networkMode, alloc *testNetwork) (*drivers.TaskConfig, <-chan time.Time) {
	job := TaskConfig{Kernel: testenv.Guest(b, "httpd.spt"), Flavor: "lkl", Args: []string{"port=8080"}}
	port := structs.AllocatedPortMapping{Label: "http", Value: 23456, To: 8080}
	switch mode {
	case modeNone:
		job.NetworkMode = string(modeNone)
	case modeHost:
		port.HostIP = leakHostIP
	default:
		job.NetworkMode, job.Ports = string(mode), []string{"http"}
	}
	task, firstByte := benchTask(b, b.TempDir(), job)
	task.Resources.Ports = &structs.AllocatedPorts{port}
	if mode != modeHost && mode != modeNone {
		task.NetworkIsolation = alloc.spec()
	}
	return task, firstByte
}

// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv/leftover"
)

// httpd returns the job of the example httpd with the given ID.
func httpd(t *testing.T, id string) *api.Job {
	t.Helper()
	job := parse(t, "httpd.nomad.hcl", kernels())
	job.ID, job.Name = ptr(id), ptr(id)
	return job
}

// connectTimeout is for connections to a guest. After an address was used by another guest, the
// host may need a minute to forget its hardware address. A connection that waits repeats its
// first packet too seldom, so callers that wait connect again.
const connectTimeout = 10 * time.Second

// get returns the body of an answer with status 200.
func get(url string) (string, error) {
	client := http.Client{Timeout: testenv.Patience, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       (&net.Dialer{Timeout: connectTimeout}).DialContext,
	}}
	response, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answered %s", url, response.Status)
	}
	return string(body), err
}

// awaitAnswer waits until the guest answers.
func (a *alloc) awaitAnswer(t *testing.T) (body string) {
	t.Helper()
	url := a.url(t)
	must.Wait(t, testenv.Eventually(func() (err error) {
		if err := a.refresh(); err != nil {
			return err
		}
		must.False(t, a.ClientTerminalStatus(), must.Sprintf("the alloc is %s", a.ClientStatus))
		body, err = get(url)
		return err
	}))
	return body
}

func TestHTTPD_AnswersThroughTheMappedPort(t *testing.T) {
	needRootAndTun(t)
	t.Parallel()
	a := run(t, nomad, httpd(t, "answers"))
	must.StrContains(t, a.awaitAnswer(t), "httpd on Solo5") // not another server on that port
}

func TestHTTPD_ServesConcurrentConnections(t *testing.T) {
	needRootAndTun(t)
	t.Parallel()
	a := run(t, nomad, httpd(t, "connections"))
	a.awaitAnswer(t)
	const clients = 8
	errs := make([]error, clients)
	var all sync.WaitGroup
	for i := range clients {
		all.Go(func() { _, errs[i] = get(a.url(t)) })
	}
	all.Wait()
	must.NoError(t, errors.Join(errs...))
}

func TestHTTPD_PrintsTheAddressOfTheAlloc(t *testing.T) {
	needRootAndTun(t)
	t.Parallel()
	a := run(t, nomad, httpd(t, "address"))
	a.await(t, api.AllocClientStatusRunning)
	must.Wait(t, testenv.Eventually(func() error {
		if err := a.refresh(); err != nil {
			return err
		}
		if a.NetworkStatus == nil || a.NetworkStatus.Address == "" {
			return errors.New("the alloc has no address")
		}
		return nil
	}))
	a.awaitLog(t, a.NetworkStatus.Address)
}

func TestStats_AreThoseOfTheGuest(t *testing.T) {
	needRootAndTun(t)
	t.Parallel()
	a := run(t, nomad, guestJob(t, "spin"))
	must.Wait(t, testenv.Eventually(func() error {
		usage, err := nomad.API.Allocations().Stats(a.Allocation, nil)
		if err != nil {
			return err
		}
		task := usage.Tasks[a.task]
		if task == nil || task.ResourceUsage == nil {
			return errors.New("the task has no statistics")
		}
		memory, cpu := task.ResourceUsage.MemoryStats, task.ResourceUsage.CpuStats
		switch {
		case memory.RSS == 0 || memory.RSS > 16<<20:
			return fmt.Errorf("the task uses %d bytes of memory, of 16 MiB", memory.RSS)
		case cpu.Percent < 10:
			return fmt.Errorf("a spinning guest uses %.1f %% of a CPU", cpu.Percent)
		}
		must.InDelta(t, cpu.Percent/100*coreMHz(t), cpu.TotalTicks, 1)
		return nil
	}))
}

// coreMHz returns the compute capacity of a processor that the agent has found.
func coreMHz(t *testing.T) float64 {
	t.Helper()
	node, err := nomad.Node()
	must.NoError(t, err)
	total, err := strconv.ParseFloat(node.Attributes["cpu.totalcompute"], 64)
	must.NoError(t, err)
	number, err := strconv.ParseFloat(node.Attributes["cpu.numcores"], 64)
	must.NoError(t, err)
	return total / number
}

func TestLogs_OutliveTheTask(t *testing.T) {
	needRootAndTun(t)
	t.Parallel()
	a := start(t, nomad, batchJob(t, "hello", "one", "two"))
	a.await(t, api.AllocClientStatusComplete)
	a.awaitLog(t, "command line: one two\n")
}

func TestStop_LeavesNothingBehind(t *testing.T) {
	needRootAndTun(t)
	// Not parallel: the resources of other tests would be in the snapshots.
	before, err := snapshot()
	must.NoError(t, err)
	t.Run("job", func(t *testing.T) {
		job := httpd(t, "leaves-nothing")
		a := run(t, nomad, job)
		a.awaitAnswer(t)
		now, err := snapshot()
		must.NoError(t, err)
		must.Error(t, leftover.Error(now.Since(before)), must.Sprint("the snapshot does not contain the running job"))
	})
	must.Wait(t, testenv.Eventually(func() error {
		now, err := snapshot()
		if err != nil {
			return err
		}
		return leftover.Error(now.Since(before))
	}))
}

func TestStop_EndsABusyGuest(t *testing.T) {
	needRootAndTun(t)
	t.Parallel()
	end := run(t, nomad, guestJob(t, "spin")).stop(t)
	must.Eq(t, int(syscall.SIGTERM), end.Signal, must.Sprint(end.DisplayMessage))
}

func TestSignal_WithoutAControlDeviceIsAnError(t *testing.T) {
	needRootAndTun(t)
	t.Parallel()
	a := run(t, nomad, guestJob(t, "idle"))
	err := nomad.API.Allocations().Signal(a.Allocation, nil, a.task, "SIGUSR1")
	must.Error(t, err)
	must.ErrorContains(t, err, "SIGUSR1")
}

// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// countsOnTheVolume requires that a count goes on after a restart, and is on the host.
func countsOnTheVolume(t *testing.T, a *alloc) {
	t.Helper()
	first := 0
	_, err := fmt.Sscanf(a.awaitAnswer(t), "visit %d\n", &first)
	must.NoError(t, err)
	must.NoError(t, nomad.API.Allocations().Restart(a.Allocation, a.task, nil))
	must.Wait(t, testenv.Eventually(func() error {
		answer, err := get(a.url(t))
		if err != nil {
			return err
		}
		if want := fmt.Sprintf("visit %d\n", first+1); answer != want {
			return fmt.Errorf("the answer is %q instead of %q", answer, want)
		}
		return nil
	}))
	content, err := os.ReadFile(filepath.Join(nomad.VolumeDir(), "visits"))
	must.NoError(t, err)
	must.Eq(t, fmt.Sprintf("%d\n", first+1), string(content))
}

// followsScaling scales the group behind the load balancer, which must not restart.
func followsScaling(t *testing.T, a *alloc) {
	t.Helper()
	a.awaitAnswersOf(t, 2)
	for _, count := range []int{3, 1} {
		must.Wait(t, testenv.Eventually(func() error { // Nomad refuses while a deployment runs
			_, _, err := nomad.API.Jobs().Scale(a.JobID, "web", &count, "test", false, nil, nil)
			return err
		}))
		a.awaitAnswersOf(t, count)
	}
	must.NoError(t, a.refresh())
	must.Eq(t, 0, a.TaskStates[a.task].Restarts)
}

// awaitAnswersOf waits until this number of instances answers, and no others.
func (a *alloc) awaitAnswersOf(t *testing.T, count int) {
	t.Helper()
	want := map[string]bool{}
	for i := range count {
		want[fmt.Sprintf("instance %d\n", i)] = true
	}
	must.Wait(t, testenv.Eventually(func() error {
		seen := map[string]bool{}
		for range 2 * max(count, 3) {
			answer, err := get(a.url(t))
			if err != nil {
				return err
			}
			seen[answer] = true
		}
		if !maps.Equal(seen, want) {
			return fmt.Errorf("answers of %v, not of %v", seen, want)
		}
		return nil
	}))
}

// storesInMemcached stores and reads a file with the clients of libmemcached.
func storesInMemcached(t *testing.T, a *alloc) {
	t.Helper()
	server := "--servers=" + a.address(t, "memcached")
	file := filepath.Join(t.TempDir(), "key")
	must.NoError(t, os.WriteFile(file, []byte("the value"), 0o600))
	must.Wait(t, testenv.Eventually(func() error {
		if out, err := exec.Command("memccp", server, file).CombinedOutput(); err != nil {
			return fmt.Errorf("memccp: %w: %s", err, out)
		}
		return nil
	}))
	out, err := exec.Command("memccat", server, "key").CombinedOutput()
	must.NoError(t, err, must.Sprintf("%s", out))
	must.Eq(t, "the value\n", string(out))
}

// keepsRetainedMessages requires that a message is there after a restart.
func keepsRetainedMessages(t *testing.T, a *alloc) {
	t.Helper()
	host, port, err := net.SplitHostPort(a.address(t, "mqtt"))
	must.NoError(t, err)
	client := func(program string, args ...string) (string, error) {
		args = append([]string{"-h", host, "-p", port, "-t", "state", "-q", "1"}, args...)
		out, err := exec.Command(program, args...).CombinedOutput()
		if err != nil {
			err = fmt.Errorf("%s: %w: %s", program, err, out)
		}
		return string(out), err
	}
	must.Wait(t, testenv.Eventually(func() error {
		_, err := client("mosquitto_pub", "-r", "-m", "retained")
		return err
	}))
	must.NoError(t, nomad.API.Allocations().Restart(a.Allocation, a.task, nil))
	must.Wait(t, testenv.Eventually(func() error {
		out, err := client("mosquitto_sub", "-C", "1", "-W", "5")
		if err == nil && out != "retained\n" {
			err = fmt.Errorf("mosquitto_sub prints %q", out)
		}
		return err
	}))
}

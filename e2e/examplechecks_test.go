// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"fmt"
	"os"
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

// findsBothInstances requires answers of the two instances behind the load balancer.
func findsBothInstances(t *testing.T, a *alloc) {
	t.Helper()
	seen := map[string]bool{}
	must.Wait(t, testenv.Eventually(func() error {
		answer, err := get(a.url(t))
		if err == nil {
			seen[answer] = true
		}
		if !seen["instance 0\n"] || !seen["instance 1\n"] {
			return fmt.Errorf("answers of %v (%w)", seen, err)
		}
		return nil
	}))
}

// SPDX-License-Identifier: MPL-2.0

package lkl

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv/ext4"
)

// killAmidAppends starts a guest that appends synced numbers to a file on a data disk, and
// kills it after several of them. It returns the last number that the guest has printed.
func killAmidAppends(t *testing.T, s guestSpec, path string, synced int) string {
	t.Helper()
	s.args = []string{"append", path, "100000"}
	g := startGuest(t, s)
	g.expectLine(t, fmt.Sprint("synced ", synced))
	must.NoError(t, g.Process.Kill())
	lines, _ := g.waitExit(t)
	last := ""
	for _, line := range lines {
		if number, found := strings.CutPrefix(line, "synced "); found {
			last = number
		}
	}
	return strings.TrimSpace(last)
}

// repairAsDriver replays the journal after every second round, as the driver does before a
// start. After the other rounds, the next guest replays it.
func repairAsDriver(t *testing.T, round int, image string) {
	t.Helper()
	if round%2 == 0 {
		return
	}
	out, err := exec.Command("e2fsck", "-p", "-E", "journal_only", image).CombinedOutput()
	must.NoError(t, err, must.Sprintf("e2fsck: %s", out))
}

func TestDisk_KeepsSyncedDataOfTwentyKilledGuests(t *testing.T) {
	testenv.Need(t, testenv.Tool("e2fsck"), testenv.Tool("debugfs"))
	const rounds = 20
	image := buildImage(t, 32, nil)
	s := specWithDataDisk(t, image, "")
	s.offerDisk("data", 1<<20, true)
	s.config["mounts"] = []any{map[string]string{"device": "data", "path": "/data"}}
	var synced [rounds]string
	for round := range rounds {
		synced[round] = killAmidAppends(t, s, fmt.Sprint("/data/log", round), 1+7*round)
		repairAsDriver(t, round, image)
	}
	s.args = []string{"fill", "/data"}
	lines, status := runGuest(t, s)
	must.Eq(t, []string{"fill: done"}, lines)
	must.Eq(t, 0, status)
	requireCleanDisk(t, image)
	for round, last := range synced {
		content, err := ext4.ReadFile(image, fmt.Sprint("/log", round))
		must.NoError(t, err)
		numbers := strings.Fields(string(content))
		must.SliceContains(t, numbers, last, must.Sprint("round ", round))
		for i, number := range numbers {
			must.Eq(t, fmt.Sprint(i), number)
		}
	}
}

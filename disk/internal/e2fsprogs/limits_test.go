// SPDX-License-Identifier: MPL-2.0

package e2fsprogs

import (
	"fmt"
	"testing"
	"time"

	"github.com/shoenig/test/must"
)

// debugfs 1.47 took these times to write empty files with names of 28 bytes into one
// directory, on a busy machine.
func TestLimits_LeaveTimeForLargeDirectories(t *testing.T) {
	for files, took := range map[int64]time.Duration{
		10:      time.Millisecond,
		20_000:  25 * time.Second,
		40_000:  100 * time.Second,
		200_000: 40 * time.Minute, // computed
	} {
		t.Run(fmt.Sprint(files), func(t *testing.T) {
			must.Greater(t, 2*took, limitsFor(64<<20, files).CPU)
		})
	}
}

func TestLimits_LeaveAHostileImageFewSeconds(t *testing.T) {
	must.Less(t, 4*time.Second, limitsFor(64<<20, 100).CPU)
}

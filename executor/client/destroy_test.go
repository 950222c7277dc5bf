// SPDX-License-Identifier: MPL-2.0

package client

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"
)

func TestWaitGone_ReturnsWhenItsContextHasEnded(t *testing.T) {
	pidfd, err := unix.PidfdOpen(os.Getpid(), 0)
	must.NoError(t, err)
	defer func() { must.NoError(t, unix.Close(pidfd)) }()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	gone, err := waitGone(ctx, pidfd, time.Hour)
	must.NoError(t, err)
	must.False(t, gone)
}

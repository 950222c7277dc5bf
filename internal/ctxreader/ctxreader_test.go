// SPDX-License-Identifier: MPL-2.0

package ctxreader_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/ctxreader"
)

func TestNew_ReadsUntilTheContextEnds(t *testing.T) {
	ctx, cancel := context.WithCancelCause(context.Background())
	r := ctxreader.New(ctx, strings.NewReader("text"))
	part := make([]byte, 2)
	n, err := r.Read(part)
	must.NoError(t, err)
	must.Eq(t, "te", string(part[:n]))
	stopped := errors.New("stopped")
	cancel(stopped)
	_, err = r.Read(part)
	must.ErrorIs(t, err, stopped)
}

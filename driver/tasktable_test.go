// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"testing"

	"github.com/hashicorp/nomad/nomad/structs"
	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"
)

func TestReserve_AllowsOneStartOfATaskAtATime(t *testing.T) {
	var known taskTable
	task := &drivers.TaskConfig{ID: "a/web/1", AllocID: "a", Name: "web"}
	again := &drivers.TaskConfig{ID: "a/web/2", AllocID: "a", Name: "web"}
	other := &drivers.TaskConfig{ID: "a/db/1", AllocID: "a", Name: "db"}
	_, err := known.reserve(t.Context(), task)
	must.NoError(t, err)
	_, err = known.reserve(t.Context(), task)
	must.ErrorIs(t, err, errStarted)
	_, err = known.reserve(t.Context(), again)
	must.ErrorContains(t, err, "a/web/1")
	must.True(t, structs.IsRecoverable(err))
	_, err = known.reserve(t.Context(), other)
	must.NoError(t, err)
	known.release(task.ID, nil)
	_, err = known.reserve(t.Context(), again)
	must.NoError(t, err)
}

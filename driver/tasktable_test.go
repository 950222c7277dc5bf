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
	release, err := known.reserve(task)
	must.NoError(t, err)
	_, err = known.reserve(task)
	must.ErrorIs(t, err, errStarted)
	_, err = known.reserve(again)
	must.ErrorContains(t, err, "a/web/1")
	must.True(t, structs.IsRecoverable(err))
	_, err = known.reserve(other)
	must.NoError(t, err)
	release()
	_, err = known.reserve(again)
	must.NoError(t, err)
}

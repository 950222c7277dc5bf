// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"strings"
	"testing"

	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// redisWithDisk returns the job of the Redis example with another image of its disk.
func redisWithDisk(t *testing.T, id, source string) *api.Job {
	t.Helper()
	job := lkl(t, "redis.nomad.hcl", id)
	set(job, "disk", []map[string]any{{"data": []map[string]any{
		{"source": source, "size": "64MiB", "mount": "/data"},
	}}})
	return job
}

// Nomad starts another alloc in place of a stopped one. There is one client, so the new
// alloc is on the same client.
func TestDisk_FollowsAnAllocOnTheSameClient(t *testing.T) {
	needRootAndTun(t)
	t.Parallel()
	for name, source := range map[string]string{
		"volume": "/volume/rescheduled.img",
		"sticky": "alloc/data/redis.img",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			job := withoutHealth(redisWithDisk(t, "rescheduled-"+name, source))
			job.TaskGroups[0].EphemeralDisk = &api.EphemeralDisk{SizeMB: ptr(200), Sticky: ptr(true)}
			first := run(t, nomad, job)
			must.Eq(t, "OK", first.redis(t).do(t, "SET", "key", "of the first alloc"))
			_, err := nomad.API.Allocations().Stop(first.Allocation, nil)
			must.NoError(t, err)
			second := first.replacement(t)
			must.Eq(t, first.NodeID, second.NodeID)
			must.Eq(t, "of the first alloc", second.redis(t).do(t, "GET", "key"))
		})
	}
}

// Redis saves one second after a change, without an append-only file.
func TestDisk_RedisSavesOnSchedule(t *testing.T) {
	needRootAndTun(t)
	t.Parallel()
	job := withoutHealth(redisWithDisk(t, "redis-schedule", "/volume/schedule.img"))
	job.TaskGroups[0].RestartPolicy = &api.RestartPolicy{Attempts: ptr(3), Mode: ptr("fail")}
	set(job, "args", []string{"/etc/redis.conf", "--appendonly", "no", "--save", "1 1"})
	a := run(t, nomad, job)
	r := a.redis(t)
	for _, value := range []string{"first", "second"} { // the second save replaces the first one's file
		must.Eq(t, "OK", r.do(t, "SET", "key", value))
		must.Wait(t, testenv.EventuallyTrue(func() bool {
			return strings.Contains(r.do(t, "INFO", "persistence"), "rdb_changes_since_last_save:0\r\n")
		}))
		must.StrContains(t, r.do(t, "INFO", "persistence"), "rdb_last_bgsave_status:ok")
	}
	a.killProcess(t, "spt-guest")
	a.awaitRestarts(t, 1)
	must.Eq(t, "second", a.redis(t).do(t, "GET", "key"))
}

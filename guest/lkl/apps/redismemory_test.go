// SPDX-License-Identifier: MPL-2.0

package apps

import (
	"fmt"
	"strings"
	"testing"

	"github.com/shoenig/test/must"
)

// The gaps that values of one size leave do not fit the next ones. Redis must not need
// more memory than the guest has, which is twice maxmemory.
func TestRedis_EvictsWhenValuesChangeSize(t *testing.T) {
	if !enterOwnNetwork(t, "lkl-redis.spt", testLimit) {
		return
	}
	for _, limit := range []int{32, 64} {
		t.Run(fmt.Sprint(limit, " MB"), func(t *testing.T) {
			g := machine{"lkl-redis.spt", redisRoot(t, 64<<20), "6379", 2 * limit}.start(t,
				"--maxmemory", fmt.Sprint(limit, "mb"), "--maxmemory-policy", "allkeys-lru")
			c := dialRedis(t, redisAddress)
			key := 0
			for _, size := range []int{50, 300, 90, 1200, 20, 600, 4000, 40} {
				value := strings.Repeat("x", size)
				refused := c.send(t, limit*1_200_000/(size+80), func(int) string {
					key = (key*7 + 12345) % 800_011
					return fmt.Sprintf("SET key:%d %s", key, value)
				})
				must.SliceEmpty(t, refused)
			}
			must.NotEq(t, "0", c.info(t, "evicted_keys"))
			g.kill(t)
		})
	}
}

// A hash that grows needs a contiguous table of 8 MiB after keys were deleted at random.
func TestRedis_GrowsHashAfterDeletions(t *testing.T) {
	if !enterOwnNetwork(t, "lkl-redis.spt", testLimit) {
		return
	}
	_ = machine{"lkl-redis.spt", redisRoot(t, 64<<20), "6379", 256}.start(t, redisConfig, "--appendonly", "no")
	c := dialRedis(t, redisAddress)
	const keys, fields = 360_000, 600_000
	value := strings.Repeat("x", 300)
	must.SliceEmpty(t, c.send(t, keys, func(i int) string { return fmt.Sprintf("SET key:%d %s", i, value) }))
	must.SliceEmpty(t, c.send(t, keys/2, func(i int) string { return fmt.Sprintf("UNLINK key:%d", i*2+i/1000%2) }))
	must.SliceEmpty(t, c.send(t, fields, func(i int) string { return fmt.Sprintf("HSET hash %d value", i) }))
	must.Eq(t, fmt.Sprint(fields), c.ask(t, "HLEN hash"))
}

// Most of the memory is the limit of values. A client that writes until Redis refuses it must
// not end the server, with an append-only file either.
func TestRedis_RefusesWritesInSmallGuests(t *testing.T) {
	if !enterOwnNetwork(t, "lkl-redis.spt", testLimit) {
		return
	}
	const memory, limit = 60, 32 // MB
	for _, size := range []int{1000, 10_000} {
		t.Run(fmt.Sprint("values of ", size), func(t *testing.T) {
			g := machine{"lkl-redis.spt", redisRoot(t, 256<<20), "6379", memory}.start(t,
				redisConfig, "--maxmemory", fmt.Sprint(limit, "mb"))
			c := dialRedis(t, redisAddress)
			value := strings.Repeat("x", size)
			refused := c.send(t, memory*1_000_000/size, func(i int) string { return fmt.Sprintf("SET key:%d %s", i, value) })
			must.SliceNotEmpty(t, refused)
			must.StrContains(t, refused[0], "OOM command not allowed")
			must.Eq(t, value, c.ask(t, "GET key:0"))
			must.StrNotContains(t, g.console.String(), "overcommit")
			g.kill(t)
		})
	}
}

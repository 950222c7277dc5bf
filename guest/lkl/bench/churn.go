// SPDX-License-Identifier: MPL-2.0

package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A churnCase is a Redis server whose memory fills and empties again and again.
type churnCase struct {
	name, memory string // of the guest, in MB
	limit        int    // maxmemory in MB, or 0
	file         bool   // whether it has an append-only file, for whose rewrites clients wait
	cycle        func(*churnLoad) error
}

// churnCases are the cases in which an allocator for small memory fails first: the
// sizes of the values change, and a table that must be contiguous grows in memory of
// which half was freed in pieces.
var churnCases = []churnCase{
	{"evict", "64", 32, false, (*churnLoad).cycleEvict},
	{"evict", "128", 64, false, (*churnLoad).cycleEvict},
	{"evict", "256", 128, false, (*churnLoad).cycleEvict},
	{"delete", "256", 0, false, (*churnLoad).cycleDelete},
	{"evict", "64", 32, true, (*churnLoad).cycleEvict},
	{"delete", "256", 0, true, (*churnLoad).cycleDelete},
}

func (c churnCase) String() string {
	if c.file {
		return fmt.Sprintf("%s, %s MB, appendonly yes", c.name, c.memory)
	}
	return fmt.Sprintf("%s, %s MB", c.name, c.memory)
}

// churn runs the cases one after the other, each for a part of the duration. It fails if
// a command fails. It prints the worst latency that a second client saw.
func (b *testbed) churn(d time.Duration) error {
	for _, c := range churnCases {
		if err := b.churnOne(c, d/time.Duration(len(churnCases))); err != nil {
			return fmt.Errorf("churn %s: %w", c, err)
		}
	}
	return nil
}

func (b *testbed) churnOne(c churnCase, d time.Duration) error {
	defer b.stopServers()
	const kernel = "build/guest/lkl-redis.spt"
	args := []string{"/etc/redis.conf"}
	if !c.file {
		args = append(args, redisOptions...)
	}
	if c.limit > 0 {
		args = append(args, "--maxmemory", fmt.Sprintf("%dmb", c.limit), "--maxmemory-policy", "allkeys-lru")
	}
	m := guestMachine{kernel, c.memory, strings.TrimSuffix(kernel, ".spt") + ".root", "1G"}
	if err := b.startGuest(m, "6379", args...); err != nil {
		return err
	}
	return b.inLoadNamespace(func() error {
		load, err := newChurnLoad(guestAddress+":6379", b.guestPID(0))
		if err != nil {
			return err
		}
		defer load.close()
		load.limit, load.end = c.limit<<20, time.Now().Add(d)
		err = load.run(c)
		fmt.Printf("churn %s: %s\n", c, load.report(err))
		if err != nil {
			err = fmt.Errorf("%w; the guest's console ends with: %s", err, b.consoleEnd())
		}
		return err
	})
}

// consoleEnd returns the last lines of the first server's output.
func (b *testbed) consoleEnd() string {
	text, err := os.ReadFile(filepath.Join(b.dir, "log-0"))
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-2000):])
}

// inLoadNamespace calls f on a thread in the namespace of the load generators.
func (b *testbed) inLoadNamespace(f func() error) error {
	return alloc{namespace: b.loadNS}.do(f)
}

// A churnLoad is a client that changes the data, beside a client that measures latency.
type churnLoad struct {
	*redisClient
	probe    *redisClient
	stalls   *stalls
	limit    int
	end      time.Time
	random   *rand.Rand
	cycles   int
	commands int
}

// valueSizes are the sizes of a cycle's values. Each cycle uses the next one.
var valueSizes = []int{50, 300, 90, 1200, 20, 600, 150, 4000, 40, 220}

func newChurnLoad(address string, guest int) (*churnLoad, error) {
	l := &churnLoad{random: rand.New(rand.NewPCG(1, 2))}
	var err error
	if l.redisClient, err = dialRedis(address, false); err != nil {
		return nil, err
	}
	if l.probe, err = dialRedis(address, true); err != nil {
		return nil, err
	}
	l.stalls, err = newStalls(guest)
	return l, err
}

func (l *churnLoad) close() {
	_ = l.Close()
	_ = l.probe.Close()
	l.stalls.close()
}

// run repeats the cycle until the end, while the probe measures.
func (l *churnLoad) run(c churnCase) error {
	var done atomic.Bool
	var probing sync.WaitGroup
	var probeFailed error
	probing.Go(func() {
		probeFailed = l.stalls.measure(&done, func() error {
			_, err := l.probe.do("PING")
			return err
		})
	})
	var err error
	for next := time.Now(); err == nil && time.Now().Before(l.end); l.cycles++ {
		if err = c.cycle(l); err == nil && time.Now().After(next) {
			next = time.Now().Add(max(10*time.Second, time.Until(l.end)/20))
			fmt.Printf("churn %s: %s left, cycle %d: %s\n", c, time.Until(l.end).Round(time.Second), l.cycles, l.info())
		}
	}
	done.Store(true)
	probing.Wait()
	return errors.Join(err, probeFailed)
}

func (l *churnLoad) report(err error) string {
	failures := 0
	if err != nil {
		failures = 1
	}
	return fmt.Sprintf("%d failures in %d cycles and %d commands; %s", failures, l.cycles, l.commands, l.stalls)
}

// info returns the figures of INFO that describe fragmentation, and rewrites of the
// append-only file.
func (l *churnLoad) info() string {
	text, err := l.do("INFO")
	if err != nil {
		return err.Error()
	}
	var found []string
	for line := range strings.Lines(text) {
		name, _, _ := strings.Cut(line, ":")
		switch name {
		case "used_memory", "used_memory_rss", "allocator_active", "allocator_resident", "aof_rewrites", "latest_fork_usec":
			found = append(found, strings.TrimSpace(line))
		}
	}
	return strings.Join(found, " ")
}

// pipelined calls add n times and sends the commands in batches of 64.
func (l *churnLoad) pipelined(n int, add func(i int)) error {
	for i := range n {
		add(i)
		if l.pending >= 64 || i == n-1 {
			l.commands += l.pending
			if _, err := l.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

// size returns the size of this cycle's values, and a text of that size.
func (l *churnLoad) size() (int, string) {
	n := valueSizes[l.cycles%len(valueSizes)]
	return n, strings.Repeat("x", n)
}

func churnKey(i int) string { return "key:" + strconv.Itoa(i) }

// cycleEvict writes twice the values that fit, so that Redis evicts.
func (l *churnLoad) cycleEvict() error {
	n, value := l.size()
	keys := l.limit / 80
	return l.pipelined(min(keys/2, 2*l.limit/(n+80)), func(int) {
		l.add("SET", churnKey(l.random.IntN(keys)), value)
	})
}

// cycleDelete fills memory to 145 MB, deletes half of it at random, grows a hash, and
// deletes all. It deletes in small commands, because one that deletes a large hash takes
// long natively, too.
func (l *churnLoad) cycleDelete() error {
	n, value := l.size()
	keys := min(800_000, 145_000_000/(n+100))
	if err := l.pipelined(keys, func(i int) { l.add("SET", churnKey(i), value) }); err != nil {
		return err
	}
	order := l.random.Perm(keys)
	if err := l.pipelined(keys/2, func(i int) { l.add("UNLINK", churnKey(order[i])) }); err != nil {
		return err
	}
	const fields = 600_000
	if err := l.pipelined(fields, func(i int) { l.add("HSET", "hash", strconv.Itoa(i), "value") }); err != nil {
		return err
	}
	if err := l.pipelined(fields, func(i int) { l.add("HDEL", "hash", strconv.Itoa(i)) }); err != nil {
		return err
	}
	return l.pipelined(keys-keys/2, func(i int) { l.add("UNLINK", churnKey(order[keys/2+i])) })
}

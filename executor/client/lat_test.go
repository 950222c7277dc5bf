package client

import (
	"context"
	"fmt"
	"os"
	"sort"
	"testing"
	"time"

	"github.com/lkl-nomad/nomad-driver-lkl/executor"
)

func TestLat(t *testing.T) {
	k, _ := os.Open("/work/main/build/guest/idle.spt")
	var ts, cs []float64
	for i := 0; i < 60; i++ {
		dir := t.TempDir()
		p := executor.Plan{Task: "x", Dir: dir, Tender: "spt", Memory: 16 << 20, Stdout: "/dev/null", UIDBase: 1 << 20, Root: "/tmp/ex/empty"}
		t0 := time.Now()
		c, _, err := Start(context.Background(), "/work/main/build/lkl-executor", p, []*os.File{k})
		ts = append(ts, float64(time.Since(t0).Microseconds()))
		if err != nil {
			t.Fatal(err)
		}
		s, err := c.Stats(context.Background())
		cs = append(cs, float64(s.ExecutorNS/1000))
		c.Stop(context.Background(), 15, time.Second)
	}
	sort.Float64s(ts)
	sort.Float64s(cs)
	fmt.Println("wall us p10,p50,p90", ts[6], ts[30], ts[54], "cpu p10 p50", cs[6], cs[30])
}

// SPDX-License-Identifier: MPL-2.0

package measure

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/shoenig/test/must"
)

func TestQuantile(t *testing.T) {
	hundred := make([]float64, 100)
	for i := range hundred {
		hundred[i] = float64(100 - i)
	}
	for _, c := range []struct {
		values []float64
		share  float64
		want   float64
	}{
		{nil, 0.5, 0},
		{[]float64{3}, 0.99, 3},
		{[]float64{4, 1, 3, 2}, 0.5, 2},
		{[]float64{5, 1, 3}, 0.5, 3},
		{hundred, 0.5, 50},
		{hundred, 0.99, 99},
		{hundred, 1, 100},
		{hundred, 0, 1},
	} {
		must.Eq(t, c.want, Quantile(c.values, c.share), must.Sprint(len(c.values), c.share))
	}
}

func TestMedian(t *testing.T) {
	must.Eq(t, 0, Median(nil))
	must.Eq(t, 3, Median([]float64{5, 1, 3}))
	must.Eq(t, 2.5, Median([]float64{4, 1, 3, 2}))
}

func TestWriteJSON_KeepsTheNamesOfEarlierResults(t *testing.T) {
	path := filepath.Join(t.TempDir(), "results.json")
	must.NoError(t, WriteJSON(path, []Figure{{Name: "start", Unit: "ms", P50: 1, P99: 2, Peer: "raw_exec", PeerP50: 3, PeerP99: 4}}))
	content, err := os.ReadFile(path)
	must.NoError(t, err)
	must.Eq(t, `[
  {
    "name": "start",
    "unit": "ms",
    "p50": 1,
    "p99": 2,
    "peer": "raw_exec",
    "peer_p50": 3,
    "peer_p99": 4
  }
]
`, string(content))
}

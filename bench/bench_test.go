// SPDX-License-Identifier: MPL-2.0

package main

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// The shortest possible run finds changes of the driver or its guests that break the
// benchmark.
func TestRun_WritesEveryFigure(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.Loop, testenv.Tool("mkfs.xfs"))
	results := filepath.Join(t.TempDir(), "results.json")
	if err := run(options{starts: 1, tasks: 1, files: 64}, results); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(results)
	if err != nil {
		t.Fatal(err)
	}
	var rows []map[string]any
	if err := json.Unmarshal(content, &rows); err != nil {
		t.Fatal(err)
	}
	if len(rows) != 13 {
		t.Errorf("%d figures, not 13", len(rows))
	}
	keys := []string{"name", "p50", "p99", "peer", "peer_p50", "peer_p99", "unit"}
	for _, row := range rows {
		if got := slices.Sorted(maps.Keys(row)); !slices.Equal(got, keys) {
			t.Errorf("%v has %v, not %v", row["name"], got, keys)
		}
		for _, key := range []string{"p50", "p99", "peer_p50", "peer_p99"} {
			if n, ok := row[key].(float64); !ok || n <= 0 {
				t.Errorf("%s of %v is %v", key, row["name"], row[key])
			}
		}
	}
}

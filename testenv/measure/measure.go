// SPDX-License-Identifier: MPL-2.0

// Package measure is what the project's benchmarks share: one form of results,
// their statistics, and their output as JSON and as a table.
package measure

import (
	"encoding/json"
	"math"
	"os"
	"slices"
)

// A Figure is one result and that of a peer, from the same run.
type Figure struct {
	Name    string  `json:"name"`
	Unit    string  `json:"unit"`
	P50     float64 `json:"p50"`
	P99     float64 `json:"p99"`
	Peer    string  `json:"peer"`
	PeerP50 float64 `json:"peer_p50"`
	PeerP99 float64 `json:"peer_p99"`
}

// Quantile returns the smallest value that at least this share of all values
// does not exceed. It returns 0 if there are no values.
func Quantile(values []float64, share float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	const tolerance = 1e-6 // 0.99*100 is a little more than 99
	i := int(math.Ceil(share*float64(len(sorted))-tolerance)) - 1
	return sorted[min(max(i, 0), len(sorted)-1)]
}

// Median returns the middle value, or the mean of the two middle values. It
// returns 0 if there are no values.
func Median(values []float64) float64 {
	n := len(values)
	if n == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// WriteJSON writes results to a file, indented.
func WriteJSON[T any](path string, results []T) error {
	content, err := json.MarshalIndent(results, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(content, '\n'), 0o644)
}

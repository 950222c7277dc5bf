// SPDX-License-Identifier: MPL-2.0

// Package bytesize reads and writes numbers of bytes for people.
package bytesize

import (
	"fmt"
	"strconv"
	"strings"
)

// Max is the largest size that Parse accepts. It is the size of the largest ext4 file system
// with blocks of 4 KiB and without the feature 64bit: 2^32 blocks (mke2fs.conf(5)).
const Max = 16 << 40

// Parse parses a size and returns it in bytes. A number without a unit is in
// MiB, as in Nomad's resources. K, M and G are powers of 1024, with or without B
// or iB.
func Parse(s string) (int64, error) {
	number := strings.TrimRight(s, "KMGiB")
	unit := int64(1) << 20
	switch s[len(number):] {
	case "", "M", "MB", "MiB":
	case "K", "KB", "KiB":
		unit = 1 << 10
	case "G", "GB", "GiB":
		unit = 1 << 30
	default:
		return 0, fmt.Errorf("%q has an unknown unit: use KiB, MiB or GiB", s)
	}
	n, err := strconv.ParseInt(strings.TrimSpace(number), 10, 64)
	if err != nil || n <= 0 {
		return 0, fmt.Errorf("%q is not a size, such as 256MiB", s)
	}
	if n > Max/unit {
		return 0, fmt.Errorf("%q exceeds the maximum of 16 TiB", s)
	}
	return n * unit, nil
}

// Format returns a number of bytes with three digits, such as "12.3 MiB".
func Format(n int64) string {
	const step = 1 << 10
	if n < step {
		return fmt.Sprintf("%d B", n)
	}
	value, unit := float64(n), -1
	for value >= 999.5 && unit < len("KMGTPE")-1 || unit < 0 {
		value /= step
		unit++
	}
	digits := 0
	if value < 99.95 {
		digits = 1
	}
	return fmt.Sprintf("%.*f %ciB", digits, value, "KMGTPE"[unit])
}

// SPDX-License-Identifier: MPL-2.0

package lkl

import (
	"fmt"
	"testing"

	"github.com/shoenig/test/must"
)

// Memory comes from the kernel in blocks, in any order: what is left over of
// one must not be lost.
func TestMemory_CanBeHadAgain(t *testing.T) {
	for _, memory := range []int{128, 256} {
		lines, status := run(t, setup{memory: decimal(memory), args: words("again")})
		must.Eq(t, 0, status)
		var first, second, third int
		_, err := fmt.Sscanf(fmt.Sprint(lines), "[pieces %d pieces %d pieces %d]", &first, &second, &third)
		must.NoError(t, err, must.Sprint(lines))
		t.Logf("%d MB of memory: %d pieces of 2 MiB, then %d, then %d", memory, first, second, third)
		must.Greater(t, memory*6/10/2, first)
		must.GreaterEq(t, first*9/10, second)
		must.GreaterEq(t, first*9/10, third)
	}
}

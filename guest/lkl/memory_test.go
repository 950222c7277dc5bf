// SPDX-License-Identifier: MPL-2.0

package lkl

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/shoenig/test/must"
)

// The kernel hands out memory in blocks of any order. Parts of a block that one
// allocation leaves over must be available to the next.
func TestMemory_FreedMemoryIsReusable(t *testing.T) {
	for _, memory := range []int{128, 256} {
		lines, status := runGuest(t, guestSpec{memory: strconv.Itoa(memory), args: strings.Fields("reallocate")})
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

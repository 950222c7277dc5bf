// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"os"
	"testing"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

func TestMain(m *testing.M) { os.Exit(testenv.Temporary(m)) }

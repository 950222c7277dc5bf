// SPDX-License-Identifier: MPL-2.0

package main

import (
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

func TestDemo_Succeeds(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.Tun)
	demo := filepath.Join(t.TempDir(), "demo")
	out, err := exec.Command("go", "build", "-o", demo, ".").CombinedOutput()
	must.NoError(t, err, must.Sprintf("%s", out))
	out, err = exec.Command(demo).CombinedOutput()
	must.NoError(t, err, must.Sprintf("%s", out))
}

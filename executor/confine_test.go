// SPDX-License-Identifier: MPL-2.0

package executor

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/landlock"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

func TestMain(m *testing.M) {
	if layers := os.Getenv(probeEnv); layers != "" {
		os.Exit(probe(layers))
	}
	os.Exit(m.Run())
}

// buildProbe builds this test binary without cgo, because cgo programs cannot make a system
// call on all of their threads. The race detector uses cgo.
func buildProbe(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "probe")
	build := exec.Command("go", "test", "-c", "-o", path, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	output, err := build.CombinedOutput()
	must.NoError(t, err, must.Sprint(string(output)))
	return path
}

func TestConfine_RefusesWhatAnExecutorDoesNotNeed(t *testing.T) {
	testenv.Need(t, testenv.Root)
	program := buildProbe(t)
	for _, layers := range []string{layerUser, layerLandlock, layerFilter} {
		t.Run(layers, func(t *testing.T) {
			if layers != layerUser && landlock.Version() == 0 {
				t.Skip("needs a kernel with Landlock")
			}
			work := probeFiles(t)
			cmd := exec.Command(program)
			cmd.Dir = work
			cmd.Env = append(os.Environ(), probeEnv+"="+layers)
			output, err := cmd.CombinedOutput()
			must.NoError(t, err, must.Sprint(string(output)))
			must.Eq(t, "20 threads\n", string(output))
			// The confined process has recorded the end of its guest.
			exit, err := ReadExit(filepath.Join(work, probeTask))
			must.NoError(t, err)
			must.Eq(t, "killed: the probe ends it", exit.Reason)
			must.FileNotExists(t, filepath.Join(work, probeTask, SocketFile))
		})
	}
}

// probeFiles makes the probe's working directory, which every user may enter.
func probeFiles(t *testing.T) string {
	t.Helper()
	work := t.TempDir()
	must.NoError(t, os.Chmod(filepath.Dir(work), 0o755))
	for dir, mode := range map[string]os.FileMode{probeTask: 0o700, openDirectory: 0o777} {
		must.NoError(t, os.Mkdir(filepath.Join(work, dir), 0o700))
		must.NoError(t, os.Chmod(filepath.Join(work, dir), mode))
	}
	for _, file := range []string{probeRecord, openDirectory + "/file"} {
		must.NoError(t, os.WriteFile(filepath.Join(work, file), nil, 0o600))
	}
	return work
}

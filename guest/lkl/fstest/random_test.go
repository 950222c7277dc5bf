// SPDX-License-Identifier: MPL-2.0

package fstest

import (
	"fmt"
	"hash/fnv"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// randomTime returns how long random changes last: LKL_RANDOM_TIME, by default a few seconds.
func randomTime(t *testing.T) time.Duration {
	t.Helper()
	set := os.Getenv("LKL_RANDOM_TIME")
	if set == "" {
		return 3 * time.Second
	}
	duration, err := time.ParseDuration(set)
	must.NoError(t, err)
	return duration
}

// randomArgs returns the arguments for random changes in a directory.
func randomArgs(t *testing.T, directory string) []string {
	t.Helper()
	return []string{"random", fmt.Sprint(int(randomTime(t).Seconds())), fmt.Sprint(os.Getpid()), directory}
}

// A run is killed only some time after the random changes have ended.
func TestLimited_OutlastsRandomChanges(t *testing.T) {
	t.Setenv("LKL_RANDOM_TIME", "1h")
	deadline, limited := limited(t).Deadline()
	must.True(t, limited)
	must.Greater(t, time.Hour, time.Until(deadline))
}

// requireDigest compares a file with the size and the digest that the program has printed.
func requireDigest(t *testing.T, path, out string) {
	t.Helper()
	content, err := os.ReadFile(path)
	must.NoError(t, err)
	digest := fnv.New64a()
	_, err = digest.Write(content)
	must.NoError(t, err)
	must.StrContains(t, out, fmt.Sprintf("size %d digest %016x\n", len(content), digest.Sum64()))
	t.Log(strings.TrimSpace(out))
}

func TestRandom_ModelIsRightNatively(t *testing.T) {
	t.Parallel()
	dir := newDirectory(t)
	requireDigest(t, filepath.Join(dir, "file"), runNatively(t, randomArgs(t, dir)...))
}

func TestRandom_GuestsExt4HasEveryByte(t *testing.T) {
	t.Parallel()
	root := buildRoot(t, 256<<20)
	run := []string{"run", "--mem=128", "--block:rootfs=" + root, "--", compileGuest(t), "--"}
	out := output(t, exec.CommandContext(limited(t), testenv.Plugin(t), append(run, randomArgs(t, "/data")...)...))

	file := filepath.Join(t.TempDir(), "file")
	dump, err := exec.Command("debugfs", "-R", "dump /data/file "+file, root).CombinedOutput()
	must.NoError(t, err, must.Sprintf("debugfs: %s", dump))
	requireDigest(t, file, out)
}

func TestRandom_GuestsTmpfsHasEveryByte(t *testing.T) {
	t.Parallel()
	for _, directory := range []string{"/tmp", "/dev/shm"} {
		run := []string{"run", "--mem=128", "--block:rootfs=" + buildRoot(t, 64<<20), "--", compileGuest(t), "--"}
		out := output(t, exec.CommandContext(limited(t), testenv.Plugin(t), append(run, randomArgs(t, directory)...)...))
		must.StrContains(t, out, " digest ")
	}
}

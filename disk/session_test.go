// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"fmt"
	"os"
	"regexp"
	"testing"

	"github.com/shoenig/test/must"
)

var seccompMode = regexp.MustCompile(`Seccomp:\s+(\d)`)

// The filter that spares a tool the waiting for the disk is on that tool alone.
func TestSession_OnlyTheToolIsFiltered(t *testing.T) {
	ctx := begin(t)
	img, err := openImage(base(t), os.O_RDONLY)
	must.NoError(t, err)
	defer img.Close()
	mode := func(path string) string {
		status, err := os.ReadFile(path)
		if err != nil {
			return "" // a thread that has just ended
		}
		return seccompMode.FindStringSubmatch(string(status))[1]
	}
	before := mode("/proc/self/status")
	s, err := openSession(ctx, img.File, false)
	must.NoError(t, err)
	defer s.kill()
	must.Eq(t, "2", mode(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid)))
	must.NoError(t, s.close())
	must.Eq(t, before, mode("/proc/self/status"))
}

// What debugfs says is the answer to the command before it, however many there are.
func TestSession_NamesTheCommandThatFailed(t *testing.T) {
	t.Parallel()
	ctx := begin(t)
	img, err := openImage(base(t), os.O_RDWR)
	must.NoError(t, err)
	defer img.Close()
	s, err := openSession(ctx, img.File, true)
	must.NoError(t, err)
	defer s.kill()
	err = s.do(func(yield func(string, error) bool) {
		for i := range 900 {
			name := fmt.Sprintf("/d%d", i)
			if i == 800 {
				name = "/missing/directory"
			}
			if !yield(command("mkdir", name)) {
				return
			}
		}
	})
	must.ErrorContains(t, err, `mkdir "/missing/directory": /missing: File not found`)
}

func TestSession_RefusesWhatDebugfsCannotOpen(t *testing.T) {
	t.Parallel()
	ctx := begin(t)
	f, err := os.Create(t.TempDir() + "/empty")
	must.NoError(t, err)
	defer f.Close()
	_, err = openSession(ctx, f, true)
	must.ErrorIs(t, err, ErrDamaged)
}

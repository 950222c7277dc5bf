// SPDX-License-Identifier: MPL-2.0

package image_test

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/disk"
	"github.com/lkl-nomad/nomad-driver-lkl/image"
	"github.com/lkl-nomad/nomad-driver-lkl/image/source"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

func TestGet_LeavesNothingAfterAFailedRequest(t *testing.T) {
	s := newServer(t)
	ref := s.push(t, "web:1", webImage(t, "one"))
	pull(t, t.TempDir(), s, ref)
	requests := s.counted("")
	must.Greater(t, 3, requests)
	dir := t.TempDir()
	store := openStore(t, dir, s)
	failures := 0
	for failing := range requests {
		var count atomic.Int64
		s.intercept(func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, "/web/") || count.Add(1) != int64(failing)+1 {
				return false
			}
			return gone(w, r)
		})
		e, err := store.Get(t.Context(), image.Request{Reference: ref})
		if err == nil { // the client had another way
			checkWeb(t, e)
			must.NoError(t, e.Close())
			collect(t, store, image.GCOptions{All: true})
		} else {
			must.ErrorIs(t, err, source.ErrNotFound)
			failures++
		}
		must.SliceEmpty(t, treeOf(t, dir))
	}
	must.Greater(t, 2, failures)
	s.intercept(nil)
	checkWeb(t, get(t, store, image.Request{Reference: ref}))
}

// smallDiskEnv makes the helper mount a file system of this size in KiB at its store.
const smallDiskEnv = "LKL_TEST_SMALL_DISK"

func TestGet_LeavesNothingOnAFullDisk(t *testing.T) {
	testenv.Need(t, testenv.Root)
	s := newServer(t)
	ref := s.push(t, "web:1", webImage(t, "one"))
	failed := map[string]bool{}
	for size := 4; ; size = size*5/4 + 4 {
		cmd := helper(t, ref, t.TempDir())
		cmd.Env = append(cmd.Env, fmt.Sprintf("%s=%d", smallDiskEnv, size))
		cmd.Stderr = nil
		cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
		out, err := cmd.Output()
		if err == nil {
			break
		}
		var exit *exec.ExitError
		must.True(t, errors.As(err, &exit), must.Sprint(err))
		must.Eq(t, smallDiskStatus, exit.ExitCode(), must.Sprintf("%d KiB: %s%s", size, exit.Stderr, out))
		failed[string(exit.Stderr)] = true
		must.Less(t, 1<<20, size)
	}
	must.Greater(t, 1, len(failed)) // several steps have failed
	for message := range failed {
		t.Log(strings.TrimSpace(message))
	}
}

// smallDiskStatus is the exit status of a helper that reports a full disk and leaves nothing.
const smallDiskStatus = 3

func mountSmallDisk(dir, size string) error {
	return errors.Join(
		unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
		unix.Mount("none", dir, "tmpfs", 0, "size="+size+"k,mode=700"),
	)
}

// exitOnFullDisk checks the error of a helper on a full disk, and ends the process.
func exitOnFullDisk(dir string, err error) {
	fmt.Fprintln(os.Stderr, err)
	isFull := errors.Is(err, unix.ENOSPC) || errors.Is(err, disk.ErrReserve)
	left, readErr := os.ReadDir(dir + "/builds")
	if !isFull || len(left) > 0 || readErr != nil && !errors.Is(readErr, os.ErrNotExist) {
		fmt.Fprintln(os.Stderr, left, readErr)
		os.Exit(1)
	}
	os.Exit(smallDiskStatus)
}

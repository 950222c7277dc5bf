// SPDX-License-Identifier: MPL-2.0

package apps

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/disk"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// startPythonService starts testdata/service.py in a guest.
func startPythonService(t *testing.T) *guest {
	t.Helper()
	dir := t.TempDir()
	files, root := filepath.Join(dir, "files"), filepath.Join(dir, "root.ext4")
	must.NoError(t, os.CopyFS(files, os.DirFS(strings.TrimSuffix(testenv.Guest(t, "lkl-python3.spt"), ".spt")+".root")))
	service, err := os.ReadFile("testdata/service.py")
	must.NoError(t, err)
	must.NoError(t, os.WriteFile(filepath.Join(files, "service.py"), service, 0o644))
	must.NoError(t, disk.Build(t.Context(), files, root, disk.BuildOptions{Size: 64 << 20}))
	return startGuest(t, "lkl-python3.spt", root, "8000", "/service.py")
}

// getAnswer returns the service's answer to a request.
func getAnswer(ctx context.Context, path string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://10.0.0.2:8000/"+path, nil)
	if err != nil {
		return "", err
	}
	client := http.Client{Timeout: testenv.Patience}
	answer, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	return string(body), err
}

func TestPython_RunsStandardLibraryAndThreads(t *testing.T) {
	if !enterOwnNetwork(t, "lkl-python3.spt", testLimit) {
		return
	}
	g := startPythonService(t)
	ctx, cancel := context.WithTimeout(t.Context(), testenv.Patience)
	defer cancel()
	for path, want := range map[string]string{
		"threads":  "9990000",
		"database": "499500",
		"process":  "[Errno 38] Function not implemented",
		"summer":   "2024-07-01T14:00:00+02:00",
		"digest":   fmt.Sprintf("%x", sha256.Sum256([]byte(strings.Repeat("python", 10000)))),
	} {
		answer, err := getAnswer(ctx, path)
		must.NoError(t, err, must.Sprint(&g.console))
		must.Eq(t, want, answer, must.Sprint(path))
	}

	// A thread that computes must not block another thread or a signal.
	waited := make(chan string, 1)
	go func() {
		answer, err := getAnswer(ctx, "wait")
		waited <- fmt.Sprint(answer, err)
	}()
	answer, err := getAnswer(ctx, "release")
	must.NoError(t, err)
	must.Eq(t, "releasing", answer)
	must.Eq(t, "released<nil>", <-waited)
	go func() { _, _ = getAnswer(ctx, "forever") }() // ends with the guest
	answer, err = getAnswer(ctx, "begun")
	must.NoError(t, err)
	must.Eq(t, "begun", answer)
	_, err = g.control.WriteString("stop 15")
	must.NoError(t, err)
	_ = g.cmd.Wait()
	must.Eq(t, 7, g.cmd.ProcessState.ExitCode(), must.Sprint(&g.console))
}

// Runs the fast modules of Python's test suite; selftest/run can run all.
func TestPython_PassesUpstreamTests(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.Tun, testenv.Tool("ip"), testenv.Tool("mke2fs"))
	testenv.Guest(t, "lkl-python3.spt")
	testenv.Plugin(t)
	ctx, cancel := context.WithTimeout(t.Context(), upstreamLimit)
	defer cancel()
	tests := strings.Fields(`test_builtin test_epoll test_fcntl test_fileio test_float test_json test_math test_mmap test_os
		test_posix test_queue test_select test_signal test_sqlite3 test_tempfile test_threading test_time test_unicode
		test_zlib`)
	out, err := exec.CommandContext(ctx, "python3/selftest/run", tests...).CombinedOutput()
	must.NoError(t, err, must.Sprintf("%s", out))
}

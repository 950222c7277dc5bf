// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/hashicorp/go-hclog"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// A password of a job reaches its registry, and nothing that stays on the host or that
// others can read. Even a registry that repeats it in its error does not bring it there.
func TestImage_PasswordIsNeitherStoredNorReported(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.Tool("mke2fs"), testenv.Tool("debugfs"))
	const password = "hunter2-hunter2"
	secrets := []string{password, base64.StdEncoding.EncodeToString([]byte("robot:" + password))}
	s := newImageServer(t)
	private := s.push(t, "private:1.0", guestImage(t, "control.spt", "", v1.Config{}))
	s.answerWith(func(w http.ResponseWriter, r *http.Request) bool {
		_, given, ok := r.BasicAuth()
		switch {
		case !ok:
			w.Header().Set("WWW-Authenticate", "Basic")
			w.WriteHeader(http.StatusUnauthorized)
		case r.Method == http.MethodHead: // its response has no text
			w.WriteHeader(http.StatusNotFound)
		default:
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprintf(w, `{"errors":[{"code":"DENIED","message":"not %s, %s"}]}`, given, r.Header.Get("Authorization"))
		}
		return true
	})
	var log lockedBuffer
	p := newLoggedPlugin(t, s.config(t), hclog.New(&hclog.LoggerOptions{Level: hclog.Trace, Output: &log}))
	config := TaskConfig{Image: private, Auth: &TaskAuth{Username: "robot", Password: password}}
	err := p.start(p.task(t, config, false))
	must.ErrorContains(t, err, "DENIED")

	s.answerWith(basicAuth("robot", password))
	task := p.task(t, config, true)
	events := p.events(t, task)
	handle, _, startErr := p.StartTask(task)
	must.NoError(t, startErr)
	texts := map[string]string{"error": err.Error(), "state": string(handle.DriverState), "log": log.String()}
	status, err := p.InspectTask(task.ID)
	must.NoError(t, err)
	texts["attributes"] = fmt.Sprint(status)
	for range 2 { // downloading, building or running
		texts["events"] += testenv.Receive(t, events)
	}
	for _, file := range []string{"cmdline", "environ"} {
		content, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", stateOf(t, handle).Executor.Pid, file))
		must.NoError(t, err)
		texts[file] = string(content)
	}
	readFiles(t, p.config.StateDir, texts)
	for name, text := range texts {
		for _, secret := range secrets {
			must.StrNotContains(t, text, secret, must.Sprint(name))
		}
	}
}

// readFiles adds the content of the small files below a directory.
func readFiles(t *testing.T, dir string, into map[string]string) {
	t.Helper()
	const largest = 1 << 20
	must.NoError(t, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		info, err := entry.Info()
		if err != nil || info.Size() > largest {
			return err
		}
		content, err := os.ReadFile(path)
		into[strings.TrimPrefix(path, dir)] = string(content)
		return err
	}))
}

// lockedBuffer is a buffer for several goroutines.
type lockedBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}

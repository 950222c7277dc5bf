// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// A testRegistry serves images on the loopback address, without TLS.
type testRegistry struct {
	host  string
	close func()

	mu       sync.Mutex
	onBlob   func() // is called before a layer or a config is sent; may be nil
	password string // of alice; "" admits everyone
}

func (r *testRegistry) set(onBlob func(), password string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.onBlob, r.password = onBlob, password
}

func (r *testRegistry) get() (onBlob func(), password string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.onBlob, r.password
}

func startRegistry(t *testing.T) *testRegistry {
	t.Helper()
	r := &testRegistry{}
	handler := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		onBlob, want := r.get()
		if user, password, _ := request.BasicAuth(); want != "" && (user != "alice" || password != want) {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if onBlob != nil && request.Method == http.MethodGet && strings.Contains(request.URL.Path, "/blobs/") {
			onBlob()
		}
		handler.ServeHTTP(w, request)
	}))
	t.Cleanup(server.Close)
	r.host, r.close = strings.TrimPrefix(server.URL, "http://"), server.Close
	return r
}

// push builds an image of a guest and pushes it. It returns the reference.
func (r *testRegistry) push(t *testing.T, guest, repository string) string {
	t.Helper()
	reference := r.host + "/" + repository
	status, _, stderr := runProgram("image", "build", "--kernel", testenv.Guest(t, guest), "--env", "COLOR=blue",
		"--plain-http", "-o", reference)
	must.Eq(t, exitOK, status, must.Sprint(stderr))
	return reference
}

// buildArchive builds an image of a guest and returns the reference of its archive.
func buildArchive(t *testing.T, guest string, options ...string) string {
	t.Helper()
	output := "oci-archive:" + filepath.Join(t.TempDir(), "image.tar")
	args := []string{"image", "build", "--kernel", testenv.Guest(t, guest), "-o", output}
	status, _, stderr := runProgram(append(args, options...)...)
	must.Eq(t, exitOK, status, must.Sprint(stderr))
	return output
}

// stateDir returns the option for a new state directory. Only root may use one.
func stateDir(t *testing.T) string {
	t.Helper()
	testenv.Need(t, testenv.Root, testenv.Tool("mke2fs"))
	return "--state-dir=" + filepath.Join(t.TempDir(), "state")
}

// mustRun runs a command that must succeed, and returns its standard output.
func mustRun(t *testing.T, args ...string) string {
	t.Helper()
	status, stdout, stderr := runProgram(args...)
	must.Eq(t, exitOK, status, must.Sprint(args, stderr))
	return stdout
}

func TestImage_LivesFromPullToRemove(t *testing.T) {
	state, r := stateDir(t), startRegistry(t)
	reference := r.push(t, "hello.spt", "team/hello:1.0")

	pulled := mustRun(t, "image", "pull", "--plain-http", state, reference)
	must.StrHasPrefix(t, reference+": read ", pulled)
	must.StrContains(t, pulled, "/hello.spt, ")
	must.StrContains(t, pulled, "root    none")
	must.StrHasPrefix(t, reference+": already in the cache", mustRun(t, "image", "pull", "--plain-http", state, reference))
	digest := strings.TrimSpace(mustRun(t, "image", "pull", "--quiet", "--policy=missing", state, reference))
	must.StrContains(t, pulled, digest)

	must.StrContains(t, mustRun(t, "image", "list", state), reference+"  "+digest[7:19]+"  ")
	for _, name := range []string{reference, digest, digest[7:19]} {
		text := mustRun(t, "image", "inspect", state, name)
		must.StrContains(t, text, digest)
		must.StrContains(t, text, "COLOR=blue")
		must.StrContains(t, text, "Unikernel /hello.spt")
	}

	must.StrContains(t, mustRun(t, "image", "gc", "--max-age=1h", "--max-size=1GiB", state), "0 B freed")
	must.StrContains(t, mustRun(t, "image", "gc", "--all", "--dry-run", state), "would remove  "+reference)
	must.StrContains(t, mustRun(t, "image", "remove", state, reference), "removed "+digest)
	must.Eq(t, "[]\n", mustRun(t, "image", "list", "--json", state))
	status, _, stderr := runProgram("image", "remove", state, reference)
	must.Eq(t, exitFailed, status)
	must.StrContains(t, stderr, "lkl image list")
}

func TestImage_NamesImagesWithoutATag(t *testing.T) {
	state, file := stateDir(t), buildArchive(t, "hello.spt")
	_, _, index := readConfig(t, file)
	mustRun(t, "image", "pull", state, file)
	must.StrContains(t, mustRun(t, "image", "list", state), "("+file+")  ")
	must.StrContains(t, mustRun(t, "image", "inspect", state, index), "Index      "+index)
	must.StrContains(t, mustRun(t, "image", "gc", "--all", "--dry-run", state), "would remove  ("+file+")")
	must.StrContains(t, mustRun(t, "image", "remove", state, file), "removed sha256:")
}

func TestImageRemove_KeepsAnImageThatATaskUses(t *testing.T) {
	state := stateDir(t)
	mustRun(t, "image", "pull", state, buildArchive(t, "hello.spt"))
	dir := strings.TrimPrefix(state, "--state-dir=")
	kernels, err := filepath.Glob(filepath.Join(dir, "images", "entries", "*", "kernel"))
	must.NoError(t, err)
	must.Len(t, 1, kernels)
	task := filepath.Join(dir, "task")
	must.NoError(t, os.Link(kernels[0], task)) // as the driver does it

	list := mustRun(t, "image", "list", state)
	must.StrHasSuffix(t, "  1\n", list)
	digest := strings.Fields(list)[7]
	status, _, stderr := runProgram("image", "remove", state, digest)
	must.Eq(t, exitFailed, status)
	must.StrContains(t, stderr, "in use")
	must.Eq(t, 1, strings.Count(stderr, "stop"), must.Sprint(stderr))
	must.StrContains(t, mustRun(t, "image", "gc", "--all", state), "0 B freed")
	must.NoError(t, os.Remove(task))
	must.StrContains(t, mustRun(t, "image", "gc", "--all", state), "removed  (oci-archive:")
	must.Eq(t, "[]\n", mustRun(t, "image", "list", "--json", state))
}

// A script depends on the names of the properties.
func TestImage_JSONHasTheseProperties(t *testing.T) {
	state := stateDir(t)
	file := buildArchive(t, "lkl-hello.spt", "--label=a=b", "--expose=80", "--cmd=x", "--user=1", "--workdir=/tmp", "--stop-signal=SIGINT")
	mustRun(t, "image", "pull", state, file)
	image := []string{
		"bytes", "config.cmd[]", "config.entrypoint[]", "config.exposed_ports[]", "config.labels", "config.stop_signal",
		"config.user", "config.working_dir", "digest", "download_bytes", "index_digests[]", "kernels[].abi", "kernels[].bytes", "kernels[].kernel_bytes",
		"kernels[].last_used", "kernels[].path", "kernels[].root_bytes", "kernels[].sha256", "kernels[].starting",
		"kernels[].target", "kernels[].tasks", "last_name", "last_used", "references[]",
	}
	var listed []string
	for _, property := range image {
		listed = append(listed, "[]."+property)
	}
	must.Eq(t, listed, properties(t, mustRun(t, "image", "list", "--json", state)))
	inspected := append(image, "kernels[].devices[].handle", "kernels[].devices[].name", "kernels[].devices[].type",
		"kernels[].features[]", "kernels[].flavor", "kernels[].min_memory", "kernels[].min_task_memory", "kernels[].needs[].met", "kernels[].needs[].what")
	slices.Sort(inspected)
	must.Eq(t, inspected, properties(t, mustRun(t, "image", "inspect", "--json", file)))
	must.Eq(t, []string{
		"freed_bytes", "kept_bytes", "removed[].bytes", "removed[].digest", "removed[].kernel", "removed[].last_name", "removed[].reason",
		"removed[].references[]", "used_bytes",
	}, properties(t, mustRun(t, "image", "gc", "--all", "--json", state)))
}

// properties returns the paths of all values in a JSON document, except below labels.
func properties(t *testing.T, document string) []string {
	t.Helper()
	var parsed any
	must.NoError(t, json.Unmarshal([]byte(document), &parsed))
	var paths []string
	var walk func(path string, v any)
	walk = func(path string, v any) {
		switch v := v.(type) {
		case map[string]any:
			if path == "config.labels" || path == "[].config.labels" {
				paths = append(paths, path)
				return
			}
			for key, value := range v {
				walk(strings.TrimPrefix(path+"."+key, "."), value)
			}
		case []any:
			if len(v) == 0 {
				paths = append(paths, path+"[]")
			}
			for _, value := range v {
				walk(path+"[]", value)
			}
		default:
			paths = append(paths, path)
		}
	}
	walk("", parsed)
	slices.Sort(paths)
	return slices.Compact(paths)
}

func TestImage_ExitStatusDependsOnTheError(t *testing.T) {
	state, r := stateDir(t), startRegistry(t)
	missing := r.host + "/team/missing:1.0"
	mustRun(t, "image", "pull", state, buildArchive(t, "hello.spt")) // creates the directory
	notOCI := filepath.Join(t.TempDir(), "file")
	must.NoError(t, os.WriteFile(notOCI, []byte(strings.Repeat("x", 2048)), 0o600))
	otherKernel := buildArchive(t, "hello.spt", "--name=/other.spt")
	for _, c := range []struct {
		args   string
		status int
		says   string
	}{
		{"pull", exitUsage, "an image is required"},
		{"pull Nginx", exitUsage, "Nginx"},
		{"pull --policy=maybe nginx", exitUsage, `--policy "maybe" is unknown: use missing, always or never`},
		{"pull --timeout=-1s nginx", exitUsage, "--timeout"},
		{"pull --timeout=5 nginx", exitUsage, "such as 72h, 5m or 90s"},
		{"pull --username=alice nginx", exitUsage, "--password-stdin"},
		{"pull --plain-http " + missing, exitFailed, "not found"},
		{"pull --plain-http --policy=never " + missing, exitFailed, `the pull policy "never" forbids a download`},
		{"pull oci-archive:/nonexistent", exitFailed, "no such file"},
		{"pull oci-archive:" + notOCI, exitRefused, "oci-archive"},
		{"pull --kernel=/absent " + otherKernel, exitRefused, "/absent"},
		{"pull --ca-file=/nonexistent nginx.example.com/a", exitFailed, "/nonexistent"},
		{"list all", exitUsage, `"all"`},
		{"inspect", exitUsage, "0 are given"},
		{"inspect " + missing, exitFailed, "lkl image list"},
		{"inspect --kernel=/a " + missing, exitUsage, "--kernel"},
		{"inspect oci-archive:" + notOCI, exitRefused, "oci-archive"},
		{"remove", exitUsage, "required"},
		{"remove sha256:123456", exitFailed, "lkl image remove: no such image: sha256:123456\n"},
		{"gc --max-size=big", exitUsage, "--max-size"},
		{"gc --max-size=0", exitUsage, "use --all"},
		{"gc --max-age=-1h", exitUsage, "--max-age"},
		{"gc --max-age=1d", exitUsage, "such as 72h"},
		{"gc all", exitUsage, "image remove"},
		{"list --state-dir=/nonexistent", exitFailed, "state_dir"},
	} {
		t.Run(c.args, func(t *testing.T) {
			words := strings.Fields(c.args)
			args := append([]string{"image", words[0], state}, words[1:]...)
			status, stdout, stderr := runProgram(args...)
			must.Eq(t, c.status, status, must.Sprint(stderr))
			must.Eq(t, "", stdout)
			must.StrContains(t, stderr, c.says)
			must.StrHasPrefix(t, "lkl image "+words[0]+": ", stderr)
		})
	}
}

func TestImagePull_PullsTheOthersAfterAFailure(t *testing.T) {
	state, r := stateDir(t), startRegistry(t)
	reference := r.push(t, "hello.spt", "hello")
	status, stdout, _ := runProgram("image", "pull", "--plain-http", state, r.host+"/missing", reference)
	must.Eq(t, exitFailed, status)
	must.StrContains(t, stdout, "/hello.spt, ")
}

func TestImage_NamesARegistryThatDoesNotAnswer(t *testing.T) {
	state, r := stateDir(t), startRegistry(t)
	r.close()
	for _, command := range [][]string{
		{"image", "pull", "--plain-http", state, r.host + "/hello"},
		{"image", "build", "--plain-http", "--kernel", testenv.Guest(t, "hello.spt"), "-o", r.host + "/hello"},
		{"image", "sbom", "--plain-http", r.host + "/hello"},
		{"doctor", "--plain-http", "--image", r.host + "/hello"},
	} {
		status, _, stderr := runProgram(command...)
		must.Eq(t, exitFailed, status)
		must.StrContains(t, stderr, r.host+" does not answer (connection refused); attempt 2 of 5\n")
	}
}

func TestImagePull_LogsInWithThePasswordOnStdin(t *testing.T) {
	state, r := stateDir(t), startRegistry(t)
	reference := r.push(t, "hello.spt", "hello")
	r.set(nil, "secret")
	pull := func(password string) (string, error) {
		c := exec.Command(testenv.LKL(t), "image", "pull", "--plain-http", "--username=alice", "--password-stdin", state, reference)
		c.Stdin = strings.NewReader(password + "\n")
		output, err := c.CombinedOutput()
		return string(output), err
	}
	output, err := pull("wrong")
	must.Error(t, err)
	must.Eq(t, 1, strings.Count(output, "check user name and password"), must.Sprint(output))
	must.StrNotContains(t, output, "auth in the task")
	output, err = pull("secret")
	must.NoError(t, err, must.Sprint(output))
}

func TestImagePull_InterruptLeavesNothing(t *testing.T) {
	state, r := stateDir(t), startRegistry(t)
	reference := r.push(t, "lkl-hello.spt", "hello")
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		asked, release := make(chan struct{}, 100), make(chan struct{})
		r.set(func() {
			asked <- struct{}{}
			<-release
		}, "")
		c := exec.Command(testenv.LKL(t), "image", "pull", "--plain-http", state, reference)
		must.NoError(t, c.Start())
		t.Cleanup(func() { _ = c.Process.Kill() })
		testenv.Receive(t, asked)
		must.NoError(t, c.Process.Signal(signal))
		must.Error(t, c.Wait())
		close(release)
		must.Eq(t, 128+int(signal), c.ProcessState.ExitCode())
		images := filepath.Join(strings.TrimPrefix(state, "--state-dir="), "images")
		for _, dir := range []string{"builds", "entries", "refs"} {
			left, err := os.ReadDir(filepath.Join(images, dir))
			must.NoError(t, err)
			must.SliceEmpty(t, left, must.Sprint(dir))
		}
	}
}

func TestImagePull_FinishesWithoutAReader(t *testing.T) {
	state, r := stateDir(t), startRegistry(t)
	reference := r.push(t, "hello.spt", "hello")
	reader, writer, err := os.Pipe()
	must.NoError(t, err)
	must.NoError(t, reader.Close())
	c := exec.Command(testenv.LKL(t), "image", "pull", "--plain-http", state, reference)
	c.Stdout, c.Stderr = writer, writer
	must.Error(t, c.Run())
	must.NoError(t, writer.Close())
	must.Eq(t, exitUnwritten, c.ProcessState.ExitCode())
	must.StrContains(t, mustRun(t, "image", "list", state), reference)
}

func TestImage_RefusesOtherUsers(t *testing.T) {
	testenv.Need(t, testenv.Root)
	// Another user may not reach the directory of the built program.
	program, err := os.Open(testenv.LKL(t))
	must.NoError(t, err)
	defer program.Close()
	for _, args := range [][]string{{"pull", "nginx"}, {"list"}, {"gc"}} {
		c := exec.Command("/proc/self/fd/3", append([]string{"image"}, args...)...)
		c.ExtraFiles = []*os.File{program}
		c.Dir = "/"
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		output, err := c.CombinedOutput()
		must.Error(t, err)
		must.StrContains(t, string(output), "as root", must.Sprint(fmt.Sprint(err)))
		must.Eq(t, exitFailed, c.ProcessState.ExitCode())
	}
}

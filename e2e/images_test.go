// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv/cluster"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv/registry"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv/sandbox"
)

// The registries' addresses in the sandbox. The plugin's configuration must contain
// all of them, so they are fixed.
const (
	publicHost  = "127.0.0.1:5000"
	privateHost = "127.0.0.1:5001"
	otherHost   = "127.0.0.1:5002" // of a registry that a test stops
	stalledHost = "127.0.0.1:5003" // of a server that never sends a layer
	pageHost    = "127.0.0.1:5004" // of the registry of docs/images.md
)

// The user of the private registry.
const (
	user     = "ci"
	password = "a password with \"quotes\" and $signs"
)

func registryConfig() string {
	var blocks strings.Builder
	for _, host := range []string{publicHost, privateHost, otherHost, stalledHost, pageHost} {
		blocks.WriteString((&registry.Registry{Host: host}).PluginConfig())
	}
	return blocks.String()
}

// startRegistry starts a registry with its files in a new directory of the sandbox.
func startRegistry(ctx context.Context, address string, users map[string]string) (*registry.Registry, error) {
	dir, err := os.MkdirTemp(sandbox.Dir(), "registry-")
	if err != nil {
		return nil, err
	}
	return registry.Start(ctx, registry.Options{Program: tools.Registry, Dir: dir, Address: address, Users: users})
}

// images sets the variable of the examples that contains the registry. The registry
// has the images that the examples use.
func images(t *testing.T) string {
	t.Helper()
	must.NoError(t, pushExamples())
	return fmt.Sprintf("registry = %q\n", publicHost+"/examples")
}

// pushExamples builds and pushes the images of the examples, once.
var pushExamples = sync.OnceValue(func() error {
	push := exec.Command(filepath.Join(tree(), "scripts", "images"), "--push", publicHost+"/examples")
	out, err := push.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("push the images of the examples: %w: %s", err, out)
	}
	return err
})

// build runs "lkl image build" with the given output, which is an archive or an image in
// a registry of the sandbox.
func build(output string, args ...string) error {
	options := []string{"image", "build", "-o", output}
	if strings.HasPrefix(output, "docker://") {
		options = append(options, "--plain-http")
	}
	return command(append(options, args...)...)
}

// command runs a command of the program lkl.
func command(args ...string) error {
	out, err := exec.Command(tools.Commands, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("lkl %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

// pushGuest pushes a unikernel of guest/ as an image that no other test has brought into
// the cache. It returns the image's reference by tag.
func pushGuest(t *testing.T, guest string) string {
	t.Helper()
	ref := publicHost + "/" + repository(t) + ":1"
	must.NoError(t, build("docker://"+ref, "--label", "test="+t.Name(), "--kernel", filepath.Join(tools.Guests, guest+".spt")))
	return ref
}

// repository returns the name of the test's own repository.
func repository(t *testing.T) string {
	return "e2e/" + strings.ToLower(strings.NewReplacer("/", "-", "_", "-").Replace(t.Name()))
}

// requests returns the requests for the test's repository that the public registry
// has answered.
func requests(t *testing.T) []registry.Request {
	t.Helper()
	all, err := public.Requests()
	must.NoError(t, err)
	return registry.Of(all, repository(t))
}

// parsed returns a reference for requests of the test itself.
func parsed(t *testing.T, ref string) name.Reference {
	t.Helper()
	r, err := name.ParseReference(ref, name.Insecure)
	must.NoError(t, err)
	return r
}

// imageJob returns a batch job with one task that runs an image.
func imageJob(t *testing.T, image string, args ...string) *api.Job {
	t.Helper()
	job := batchJob(t, "", args...)
	task := job.TaskGroups[0].Tasks[0]
	task.Config = map[string]any{"image": image, "args": args}
	return job
}

// runImage runs a job with the image to its end on an agent. The output must contain
// the text.
func runImage(t *testing.T, on *cluster.Nomad, job *api.Job, output string) *alloc {
	t.Helper()
	a := start(t, on, job)
	a.await(t, api.AllocClientStatusComplete)
	a.awaitLog(t, output)
	return a
}

// renamed returns the job with another ID.
func renamed(job *api.Job, suffix string) *api.Job {
	job.ID = ptr(*job.ID + suffix)
	job.Name = job.ID
	return job
}

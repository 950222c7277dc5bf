// SPDX-License-Identifier: MPL-2.0

package image_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/image"
	"github.com/lkl-nomad/nomad-driver-lkl/image/reference"
	client "github.com/lkl-nomad/nomad-driver-lkl/image/registry"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// helperEnv makes the test program bring in an image, as another plugin would. Its value is
// "REFERENCE DIRECTORY".
const helperEnv = "LKL_TEST_GET_IMAGE"

func TestMain(m *testing.M) {
	if value := os.Getenv(helperEnv); value != "" {
		if err := runHelper(value); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(testenv.Temporary(m))
}

func runHelper(value string) error {
	name, dir, _ := strings.Cut(value, " ")
	ref, err := reference.Parse(name)
	if err != nil {
		return err
	}
	c, err := client.New(client.Options{Hosts: map[string]client.Host{ref.Host(): {PlainHTTP: true}}})
	if err != nil {
		return err
	}
	size := os.Getenv(smallDiskEnv)
	if size != "" {
		if err := mountSmallDisk(dir, size); err != nil {
			return err
		}
	}
	err = getOnce(image.Config{Dir: dir, Client: c}, ref)
	if size != "" && err != nil {
		exitOnFullDisk(dir, err)
	}
	return err
}

func getOnce(c image.Config, ref reference.Reference) error {
	store, err := image.Open(c)
	if err != nil {
		return err
	}
	e, err := store.Get(context.Background(), image.Request{Reference: ref})
	if err != nil {
		return err
	}
	return e.Close()
}

// helper returns a process that brings in an image.
func helper(t *testing.T, ref reference.Reference, dir string) *exec.Cmd {
	t.Helper()
	program, err := os.Executable()
	must.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), program)
	cmd.Env = append(os.Environ(), helperEnv+"="+ref.String()+" "+dir)
	cmd.Stderr = os.Stderr
	return cmd
}

func TestGet_WorksAfterAKillAtAnyMoment(t *testing.T) {
	s := newServer(t)
	ref := s.push(t, "web:1", webImage(t, "one"))
	start := time.Now()
	must.NoError(t, helper(t, ref, t.TempDir()).Run())
	whole := time.Since(start)

	dir := t.TempDir()
	store := openStore(t, dir, s)
	const moments = 30
	killed := 0
	for i := range moments {
		cmd := helper(t, ref, dir)
		must.NoError(t, cmd.Start())
		// The moment is arbitrary: the checks hold for each.
		kill := time.AfterFunc(whole*time.Duration(i)/moments, func() { _ = cmd.Process.Kill() })
		if cmd.Wait() != nil {
			killed++
		}
		kill.Stop()
		if i%2 == 0 { // the next start works without a collection
			e := get(t, store, image.Request{Reference: ref})
			checkWeb(t, e)
			must.NoError(t, e.Close())
		}
		// A tool that the process was about to start has the process's locks until it runs.
		must.Wait(t, testenv.EventuallyTrue(func() bool {
			collect(t, store, image.GCOptions{All: true})
			return len(treeOf(t, dir)) == 0
		}))
	}
	must.Positive(t, killed)
	t.Logf("killed %d of %d processes within %v", killed, moments, whole)
}

func TestGet_SharesAStoreWithOtherProcesses(t *testing.T) {
	s := newServer(t)
	img := webImage(t, "one")
	ref := s.push(t, "web:1", img)
	config, err := img.ConfigName()
	must.NoError(t, err)
	g := s.blockLayers(t, config.String())
	dir := t.TempDir()
	store := openStore(t, dir, s)
	var processes []*exec.Cmd
	for range 3 {
		cmd := helper(t, ref, dir)
		must.NoError(t, cmd.Start())
		processes = append(processes, cmd)
	}
	testenv.Receive(t, g.reached)
	// A collection spares the build of another process.
	collect(t, store, image.GCOptions{All: true})
	must.SliceLen(t, 1, namesIn(t, dir, "builds"))
	g.open()
	for _, cmd := range processes {
		must.NoError(t, cmd.Wait())
	}
	must.Eq(t, 0, len(g.reached)) // one process pulled
	must.True(t, get(t, store, image.Request{Reference: ref, Policy: image.PolicyNever}).Cached)
}

// A process that removes images all the time must never make a start fail.
func TestGet_SurvivesConcurrentCollections(t *testing.T) {
	s := newServer(t)
	ref := s.push(t, "web:1", webImage(t, "one"))
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	collected := make(chan error, 1)
	collector := openStore(t, dir, s)
	go func() {
		var err error
		for err == nil && ctx.Err() == nil {
			_, err = collector.GC(t.Context(), image.GCOptions{All: true})
		}
		collected <- err
	}()
	var results []chan error
	for range 4 {
		result := make(chan error, 1)
		results = append(results, result)
		store := openStore(t, dir, s)
		go func() {
			for range 10 {
				e, err := store.Get(t.Context(), image.Request{Reference: ref})
				if err == nil {
					_, err = os.Stat(e.KernelFile)
					_ = e.Close()
				}
				if err != nil {
					result <- err
					return
				}
			}
			result <- nil
		}()
	}
	for _, result := range results {
		must.NoError(t, testenv.Receive(t, result))
	}
	cancel()
	must.NoError(t, testenv.Receive(t, collected))
	collect(t, collector, image.GCOptions{All: true})
	must.SliceEmpty(t, treeOf(t, dir))
}

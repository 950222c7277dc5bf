// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/lkl-nomad/nomad-driver-lkl/image"
	"github.com/lkl-nomad/nomad-driver-lkl/image/reference"
	"github.com/lkl-nomad/nomad-driver-lkl/image/spec"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/bytesize"
)

const imagePullUsage = `usage: PROGRAM image pull [OPTION ...] IMAGE ...

Brings images into the driver's cache, so that tasks start without a download. IMAGE is
a reference of a registry, or a file:

  registry.example.com/team/nginx:1.22
  registry.example.com/team/nginx@sha256:DIGEST
  oci:DIRECTORY[:TAG]
  oci-archive:FILE[:TAG]
  docker-archive:FILE[:REFERENCE]

A pull that is interrupted leaves nothing behind.

Options:

  --policy POLICY           missing, always or never, as a job's image_pull_policy
                            (default always)
  --kernel PATH             the unikernel in the image (default: that of the entrypoint)
  --timeout DURATION        limit for each image, such as 90s (default 5m)
  --quiet                   print only the digests
` + stateDirUsage + `
` + registryUsage + `
Proxies come from HTTPS_PROXY, HTTP_PROXY and NO_PROXY.

Exit status:
  0  all images are in the cache
  1  an image could not be brought in
  2  the command line is not valid
  3  an image is not for this driver: another platform, or no Solo5 unikernel
  4  the output could not be written
`

// pullOptions are the options of "image pull".
type pullOptions struct {
	store    storeFlags
	registry registryFlags
	policy   string
	kernel   string
	timeout  time.Duration
	quiet    bool
}

// check finds options that are not valid.
func (o *pullOptions) check() error {
	if !slices.Contains(image.Policies, image.Policy(o.policy)) {
		return fmt.Errorf("--policy %q is unknown: use %s", o.policy, image.ListPolicies())
	}
	if o.timeout <= 0 {
		return fmt.Errorf("--timeout %s: must be positive", o.timeout)
	}
	return o.registry.check()
}

func imagePullCommand(e *Env, args []string) int {
	var o pullOptions
	flags := newFlags()
	o.store.define(flags)
	o.registry.define(flags)
	flags.StringVar(&o.policy, "policy", string(image.PolicyAlways), "")
	flags.StringVar(&o.kernel, "kernel", "", "")
	o.timeout = 5 * time.Minute
	flags.Func("timeout", "", duration(&o.timeout))
	flags.BoolVar(&o.quiet, "quiet", false, "")
	operands, status, done := e.parse(flags, args)
	if done {
		return status
	}
	references, err := parseReferences(operands)
	if err = errors.Join(err, o.check()); err != nil {
		return e.usageError(err)
	}
	ctx, stop := interruptible()
	defer stop()
	return o.pullAll(ctx, e, references)
}

// pullAll pulls each image, also after one that failed. It returns the exit status of the
// first failure.
func (o *pullOptions) pullAll(ctx context.Context, e *Env, references []reference.Reference) (status int) {
	client, err := o.registry.client(references)
	if err != nil {
		return e.fail(exitFailed, err)
	}
	credentials, err := o.registry.credentials(e.Stdin)
	if err != nil {
		return e.fail(exitFailed, err)
	}
	store, err := o.store.open(client)
	if err != nil {
		return e.fail(exitFailed, err)
	}
	defer func() {
		if err := store.Close(); err != nil && status == exitOK {
			status = e.fail(exitFailed, err)
		}
	}()
	for _, ref := range references {
		report, err := o.pull(ctx, e, store, image.Request{Reference: ref, Credentials: credentials})
		var one int
		if err != nil {
			one = e.failImage(err)
		} else {
			one = e.print(report)
		}
		status = cmp.Or(status, one)
		if ctx.Err() != nil {
			break
		}
	}
	return status
}

// pull pulls one image and returns a report about it.
func (o *pullOptions) pull(ctx context.Context, e *Env, store *image.Store, r image.Request) (string, error) {
	var err error
	if r.Local, err = openReference(r.Reference); err != nil {
		return "", err
	}
	if r.Local != nil {
		defer r.Local.Close()
	}
	ctx, cancel := context.WithTimeoutCause(ctx, o.timeout, fmt.Errorf("not finished within %s: use a larger --timeout", o.timeout))
	defer cancel()
	p := newProgress(e.Stderr, r.Reference.String())
	downloaded := int64(0)
	r.Policy, r.Overrides = image.Policy(o.policy), spec.Overrides{Kernel: o.kernel}
	r.Progress = func(now image.Progress) {
		if now.Stage == image.StageRetrying {
			p.note(now.Retry)
			return
		}
		downloaded = max(downloaded, now.Total)
		p.update(string(now.Stage), now.Done, now.Total)
	}
	begun := time.Now()
	entry, err := store.Get(ctx, r)
	p.clear()
	if err != nil {
		return "", err
	}
	defer func() { _ = entry.Close() }()
	if o.quiet {
		return entry.Digest + "\n", nil
	}
	return pullReport(r.Reference, entry, downloaded, time.Since(begun))
}

// pullReport describes an entry that has just been pulled or found.
func pullReport(ref reference.Reference, entry *image.Entry, downloaded int64, took time.Duration) (string, error) {
	result := "already in the cache"
	if !entry.Cached {
		result = fmt.Sprintf("read %s in %.1f s", bytesize.Format(downloaded), took.Seconds())
	}
	kernel, err := os.Stat(entry.KernelFile)
	if err != nil {
		return "", err
	}
	text := fmt.Sprintf("%s: %s\n  digest  %s\n  kernel  %s, %s\n",
		printable(ref.String()), result, entry.Digest, printable(entry.KernelPath), bytesize.Format(kernel.Size()))
	if entry.RootFile == "" {
		return text + "  root    none: the kernel has no block device\n", nil
	}
	root, err := os.Stat(entry.RootFile)
	if err != nil {
		return "", err
	}
	return text + fmt.Sprintf("  root    %s, %s in use\n", bytesize.Format(root.Size()), bytesize.Format(allocated(root))), nil
}

// allocated returns the space that a file takes on its disk, in bytes.
func allocated(info os.FileInfo) int64 {
	const unit = 512 // see stat(2)
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return stat.Blocks * unit
	}
	return info.Size()
}

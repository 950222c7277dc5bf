// SPDX-License-Identifier: MPL-2.0

package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/lkl-nomad/nomad-driver-lkl/image/registry"
	"github.com/lkl-nomad/nomad-driver-lkl/image/source"
)

// Get returns the unikernel of an image, and brings it in if it is not cached. The caller
// closes the entry.
//
// Concurrent calls for the same image bring it in once. A call ends with its context; when
// all calls for an image have ended, the pull is canceled and leaves nothing behind.
//
// Errors wrap ErrNotCached or the errors of these packages:
//
//	source     the registry or the image is at fault
//	spec       the image has no manifest or kernel for this driver
//	unikernel  the kernel is not a valid Solo5 file
//	disk       the image exceeds a limit, or the host lacks space
func (s *Store) Get(ctx context.Context, r Request) (*Entry, error) {
	e, err := s.get(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", r.Reference, err)
	}
	e.saveName(r.Reference.String())
	return e, nil
}

func (s *Store) get(ctx context.Context, r Request) (*Entry, error) {
	policy, err := r.policy()
	if err != nil {
		return nil, err
	}
	if r.Reference.IsLocal() != (r.Local != nil) {
		return nil, errors.New("a local image, and no other image, needs an open file")
	}
	found, err := s.resolve(ctx, r, policy)
	if err != nil {
		return nil, err
	}
	e, err := s.entry(ctx, r, policy, found)
	if found.known && r.Reference.IsMutable() && errors.Is(err, source.ErrNotFound) {
		// The tag has moved, and the registry no longer has the image of the cached record.
		if found, err = s.resolve(ctx, r, PolicyAlways); err != nil {
			return nil, err
		}
		e, err = s.entry(ctx, r, policy, found)
	}
	if err != nil {
		return nil, err
	}
	if found.known && e.Cached {
		return e, nil
	}
	if err := s.record(r, found); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

// entry returns the entry of an image from the cache, or brings it in.
func (s *Store) entry(ctx context.Context, r Request, policy Policy, found resolution) (*Entry, error) {
	process, err := found.image.Config.Merge(r.Overrides)
	if err != nil {
		return nil, err
	}
	e, err := s.lookup(ctx, &found.image, process.Kernel)
	switch {
	case err == nil:
		e.Cached = true
		return e, nil
	case !errors.Is(err, fs.ErrNotExist) && !isBroken(err):
		return nil, err
	case policy == PolicyNever:
		return nil, notCached(fmt.Sprintf("the image with the kernel %q", process.Kernel), err)
	}
	return s.pull(ctx, r, found, process.Kernel)
}

// notCached returns the error of PolicyNever.
func notCached(what string, err error) error {
	const remedy = "the pull policy \"never\" forbids a download: set another policy, or run \"lkl image pull\" with its default policy"
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: the cache does not contain %s, and %s", ErrNotCached, what, remedy)
	}
	return fmt.Errorf("%w: %s in the cache is unusable, and %s: %w", ErrNotCached, what, remedy, err)
}

// pull brings in an entry, together with all other callers that ask for it. Callers with
// other credentials or of another kind of source use their own.
func (s *Store) pull(ctx context.Context, r Request, found resolution, kernelPath string) (*Entry, error) {
	key := hexOf(found.image.Digest, kernelPath, r.sourceKey())
	_, release, err := s.pulls.join(ctx, key, func() (operation[*os.File], error) {
		open, err := s.opener(r)
		return operation[*os.File]{
			run: func(ctx context.Context, report func(Progress)) (*os.File, error) {
				src, err := open()
				if err != nil {
					return nil, err
				}
				defer func() { _ = src.Close() }() // it was only read
				return s.bringIn(reportRetries(ctx, report), src, found, entryBuild{kernelPath: kernelPath, report: report})
			},
			drop: func(dir *os.File) { fileLock{dir}.release() },
		}, err
	}, r.report)
	if err != nil {
		return nil, err
	}
	defer release()
	return s.lookup(ctx, &found.image, kernelPath)
}

// bringIn builds an entry, unless another process has just done so. It returns the pinned
// directory.
func (s *Store) bringIn(ctx context.Context, src source.Source, found resolution, b entryBuild) (*os.File, error) {
	key := entryKey(found.image.Digest, b.kernelPath)
	unlock, err := s.lockEntry(ctx, key, func() { b.report(Progress{Stage: StageWaiting}) })
	if err != nil {
		return nil, err
	}
	defer unlock()
	e, err := s.lookup(ctx, &found.image, b.kernelPath)
	switch {
	case err == nil:
		return e.dir, nil
	case !errors.Is(err, fs.ErrNotExist) && !isBroken(err):
		return nil, err
	}
	if err := s.takeSlot(ctx, b.report); err != nil {
		return nil, err
	}
	defer func() { <-s.slots }()
	if found.documents == nil {
		if found.documents, err = fetchImage(ctx, src, found.image.descriptor()); err != nil {
			return nil, err
		}
	}
	b.image, b.documents = found.image, found.documents
	return s.buildEntry(ctx, src, key, b)
}

// takeSlot waits until fewer than maxPulls images are being brought in.
func (s *Store) takeSlot(ctx context.Context, report func(Progress)) error {
	select {
	case s.slots <- struct{}{}:
		return nil
	default:
		report(Progress{Stage: StageWaiting})
	}
	select {
	case s.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// reportRetries returns a context in which failed attempts at a registry are reported.
func reportRetries(ctx context.Context, report func(Progress)) context.Context {
	return registry.WithRetryFunc(ctx, func(r registry.Retry) {
		report(Progress{Stage: StageRetrying, Retry: r.String()})
	})
}

// opener returns a function that opens the source of a request. The source does not depend
// on the request's file.
func (s *Store) opener(r Request) (func() (source.Source, error), error) {
	if r.Local == nil {
		if s.config.Client == nil {
			return nil, errors.New("registries are not available")
		}
		return func() (source.Source, error) { return s.config.Client.Source(r.Reference, r.Credentials) }, nil
	}
	file, err := duplicate(r.Local)
	if err != nil {
		return nil, err
	}
	return func() (source.Source, error) { return openLocal(r.Reference, file) }, nil
}

// resolution is the result of resolving a reference.
type resolution struct {
	image imageInfo
	// target is the digest that the reference names: of the manifest or of an index.
	target string
	// documents are only needed to build an entry. nil: they have not been fetched.
	documents *imageDocuments
	// asked is the time before the source was asked.
	asked time.Time
	// known reports that the cache has the reference, and that no source was asked.
	known bool
}

// resolve finds the manifest of a reference.
func (s *Store) resolve(ctx context.Context, r Request, policy Policy) (resolution, error) {
	if r.Local != nil {
		return s.resolveLocal(ctx, r)
	}
	if digest := r.Reference.Digest(); digest != "" || policy != PolicyAlways {
		found, err := s.cached(r.Reference.String(), digest)
		if err == nil {
			return found, nil
		}
		if policy == PolicyNever {
			return resolution{}, notCached("the image", err)
		}
	}
	// The answer to a request that is on its way is new enough for PolicyAlways.
	found, release, err := s.resolves.join(ctx, hexOf(r.Reference.String(), r.sourceKey()), func() (operation[resolution], error) {
		open, err := s.opener(r)
		return operation[resolution]{run: func(ctx context.Context, report func(Progress)) (resolution, error) {
			report(Progress{Stage: StageResolving})
			return s.ask(reportRetries(ctx, report), open)
		}}, err
	}, r.report)
	if err != nil {
		return resolution{}, err
	}
	release()
	return found, nil
}

func (s *Store) resolveLocal(ctx context.Context, r Request) (resolution, error) {
	open, err := s.opener(r)
	if err != nil {
		return resolution{}, err
	}
	return s.ask(ctx, open)
}

// ask resolves a reference at its source. It reads the manifest and the config only if the
// cache does not know them.
func (s *Store) ask(ctx context.Context, open func() (source.Source, error)) (resolution, error) {
	asked := time.Now()
	src, err := open()
	if err != nil {
		return resolution{}, err
	}
	defer func() { _ = src.Close() }() // it was only read
	target, err := src.Resolve(ctx)
	if err != nil {
		return resolution{}, err
	}
	if found, err := s.cached("", target.Digest.String()); err == nil {
		found.asked, found.known = asked, false
		return found, nil
	}
	documents, err := fetchImage(ctx, src, target)
	if err != nil {
		return resolution{}, err
	}
	return resolution{image: documents.info(), target: target.Digest.String(), documents: documents, asked: asked}, nil
}

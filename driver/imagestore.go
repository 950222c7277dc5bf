// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/lkl-nomad/nomad-driver-lkl/image"
	"github.com/lkl-nomad/nomad-driver-lkl/image/registry"
)

// images is the cache of images. It is opened for the first task that needs it.
type images struct {
	mu    sync.Mutex
	store *image.Store
	// unused receives a value when a task that had an image has been removed.
	unused chan struct{}
}

// imageGCPeriod is the time between garbage collections that no task causes.
const imageGCPeriod = 5 * time.Minute

// imagesDir returns the directory of the cache.
func imagesDir(stateDir string) string { return filepath.Join(stateDir, "images") }

// imageStore returns the cache of images.
func (d *Driver) imageStore() (*image.Store, error) {
	d.images.mu.Lock()
	defer d.images.mu.Unlock()
	if d.images.store != nil {
		return d.images.store, nil
	}
	client, err := registry.New(d.config.registryOptions())
	if err != nil {
		return nil, err
	}
	limit, err := d.config.maxRootfsSize()
	if err != nil {
		return nil, err
	}
	d.images.store, err = image.Open(image.Config{Dir: imagesDir(d.config.StateDir), Client: client, MaxUnpacked: limit})
	return d.images.store, err
}

// noteUnused asks for a garbage collection, because a task that had an image has been
// removed.
func (i *images) noteUnused() {
	select {
	case i.unused <- struct{}{}:
	default: // one is due already
	}
}

// collectImagesForever removes unused images for as long as the plugin runs.
func (d *Driver) collectImagesForever() {
	tick := time.NewTicker(imageGCPeriod)
	defer tick.Stop()
	for {
		if err := d.collectImages(); err != nil && d.ctx.Err() == nil {
			d.log.Error("cannot remove unused images", "error", err)
		}
		select {
		case <-tick.C:
		case <-d.images.unused:
		case <-d.ctx.Done():
			return
		}
	}
}

// collectImages removes the images that image_gc does not keep, and the remains of killed
// plugins. It does nothing if no task has had an image.
func (d *Driver) collectImages() error {
	if _, err := os.Stat(imagesDir(d.config.StateDir)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	store, err := d.imageStore()
	if err != nil {
		return err
	}
	options, err := d.config.ImageGC.options()
	if err != nil {
		return err
	}
	report, err := store.GC(d.ctx, options)
	for _, r := range report.Removed {
		d.log.Info("removed an image", "digest", r.Digest, "kernel", r.Kernel, "references", r.References, "reason", r.Reason)
	}
	return err
}

// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/lkl-nomad/nomad-driver-lkl/disk"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv/loopfs"
)

// imageRoom is the free space in bytes of a root disk that is made from an image.
const imageRoom = 64 << 20

// imageSteps measures the work on root disks for the start of a task with an OCI image. It
// converts a layer, and measures the steps that remain when the result is in the cache. The
// layer's files have 40 kB on average.
func imageSteps(dir string, rounds, files int) ([]row, error) {
	layer := filepath.Join(dir, "layer.tar")
	if err := writeLayer(layer, files); err != nil {
		return nil, err
	}
	var rows []row
	for _, c := range []struct{ name, compress string }{{"plain", ""}, {"gzip", "gzip"}} {
		r, err := conversion(dir, layer, c.compress, max(rounds/20, 1))
		if err != nil {
			return nil, fmt.Errorf("convert a layer (%s): %w", c.name, err)
		}
		r.Name = fmt.Sprintf("convert a layer of %d files, %s", files, c.name)
		rows = append(rows, r)
	}
	if err := writeLayer(layer, files/8); err != nil {
		return nil, err
	}
	for _, c := range []struct {
		name   string
		format []string
		goal   string
		peer   []string
	}{
		{"XFS", loopfs.XFS, "15", []string{"cp", "--reflink=always"}},
		{"ext4", loopfs.Ext4, "25", []string{"cp", "--reflink=never", "--sparse=auto"}},
	} {
		fs, err := loopfs.New(c.format, filepath.Join(dir, c.name), 1<<30)
		if err != nil {
			return nil, err
		}
		r, err := cachedStart(fs.Path(), layer, c.peer, rounds)
		_ = fs.Close() // it only had files of this benchmark
		if err != nil {
			return nil, fmt.Errorf("copy a cached root on %s: %w", c.name, err)
		}
		r.Name, r.goal = "copy a cached root, add the task's files, "+c.name, "p50 <= "+c.goal
		rows = append(rows, r)
	}
	return rows, nil
}

// conversion compares unpacking a layer and building an image with tar and mke2fs -d.
func conversion(dir, layer, compress string, rounds int) (row, error) {
	if compress != "" {
		out, err := exec.Command(compress, "--keep", "--force", layer).CombinedOutput()
		if err != nil {
			return row{}, fmt.Errorf("%s: %w: %s", compress, err, out)
		}
		layer += ".gz"
	}
	ours, peer := series{name: "disk"}, series{name: "tar -x, mke2fs -d"}
	for i := range 1 + rounds {
		for _, c := range []struct {
			*series
			convert func(dir, layer, image string) error
		}{{&ours, convert}, {&peer, convertByTools}} {
			took, err := timed(func() error { return c.convert(dir, layer, filepath.Join(dir, "image")) })
			if err != nil {
				return row{}, err
			}
			if i > 0 {
				c.values = append(c.values, took)
			}
			if err := os.Remove(filepath.Join(dir, "image")); err != nil {
				return row{}, err
			}
			if err := os.RemoveAll(filepath.Join(dir, "tree")); err != nil {
				return row{}, err
			}
		}
	}
	return compare("", "ms", "1.3 x peer", ours, peer), nil
}

// convert makes an image of a layer as the driver does. The image is on disk afterwards.
func convert(dir, layer, image string) error {
	ctx := context.Background()
	f, err := os.Open(layer)
	if err != nil {
		return err
	}
	defer f.Close()
	content, err := disk.NewContent(dir, disk.ContentOptions{})
	if err != nil {
		return err
	}
	defer func() { _ = content.Close() }() // nothing in it is needed any more
	if err := content.AddLayer(ctx, f); err != nil {
		return err
	}
	return content.WriteImage(ctx, image, disk.BuildOptions{Room: imageRoom})
}

// convertByTools makes an image of a layer with a tree of files. mke2fs syncs the image.
func convertByTools(dir, layer, image string) error {
	tree := filepath.Join(dir, "tree")
	if err := os.Mkdir(tree, 0o755); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"tar", "-xf", layer, "-C", tree},
		{"mke2fs", "-q", "-t", "ext4", "-d", tree, image, "320m"},
	} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", args[0], err, out)
		}
	}
	return nil
}

// cachedStart compares copying an image of 64 MiB with room and adding a task's files with
// cp, which only copies the image.
func cachedStart(dir, layer string, cp []string, rounds int) (row, error) {
	cached, root := filepath.Join(dir, "cached"), filepath.Join(dir, "root")
	if err := convert(dir, layer, cached); err != nil {
		return row{}, err
	}
	ours, peer := series{name: "disk"}, series{name: "cp"}
	for i := range warmUp + rounds {
		for _, c := range []struct {
			*series
			copy func() error
		}{
			{&ours, func() error { return copyRoot(cached, root) }},
			{&peer, func() error { return exec.Command(cp[0], append(cp[1:len(cp):len(cp)], cached, root)...).Run() }},
		} {
			took, err := timed(c.copy)
			if err != nil {
				return row{}, err
			}
			if i >= warmUp {
				c.values = append(c.values, took)
			}
			if err := os.Remove(root); err != nil {
				return row{}, err
			}
		}
	}
	return compare("", "ms", "", ours, peer), nil
}

// copyRoot makes a task's root disk from a cached one.
func copyRoot(cached, root string) error {
	ctx := context.Background()
	if err := disk.Copy(ctx, cached, root); err != nil {
		return err
	}
	files := []disk.File{
		{Path: "/etc/hostname", Mode: 0o644, Content: []byte("bench\n")},
		{Path: "/etc/hosts", Mode: 0o644, Content: []byte("127.0.0.1 localhost\n")},
		{Path: "/etc/resolv.conf", Mode: 0o644, Content: []byte("nameserver 10.0.0.1\n")},
		{Path: "/etc/random-seed", Mode: 0o600, Content: make([]byte, 512)},
	}
	for _, name := range []string{"/local", "/secrets", "/alloc/data", "/alloc/tmp"} {
		files = append(files, disk.File{Path: name, Mode: os.ModeDir | 0o755})
	}
	for i := range 4 {
		files = append(files, disk.File{Path: fmt.Sprint("/local/template-", i), Mode: 0o644, Content: make([]byte, 2000)})
	}
	return disk.Put(ctx, disk.Sandbox{}, root, files)
}

// timed returns the duration of f in milliseconds.
func timed(f func() error) (float64, error) {
	begun := time.Now()
	err := f()
	return milliseconds(time.Since(begun)), err
}

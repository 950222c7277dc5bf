// SPDX-License-Identifier: MPL-2.0

package spec

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// maxConfigText is the largest size of all values of a Config together, in bytes. The cache
// keeps the Config and reads it at each start.
const maxConfigText = 256 << 10

// Config is the part of an image's config that says how its program runs.
type Config struct {
	Entrypoint []string `json:"entrypoint,omitempty"`
	Cmd        []string `json:"cmd,omitempty"`
	// Env has elements "NAME=value". Of several with one name, the last counts.
	Env          []string          `json:"env,omitempty"`
	WorkingDir   string            `json:"working_dir,omitempty"`
	User         string            `json:"user,omitempty"`
	StopSignal   string            `json:"stop_signal,omitempty"`
	ExposedPorts []string          `json:"exposed_ports,omitempty"` // sorted, such as "80/tcp"
	Labels       map[string]string `json:"labels,omitempty"`
}

// ConfigFile is an image's config.
type ConfigFile struct {
	Config
	// DiffIDs are the digests of the uncompressed layers.
	DiffIDs []v1.Hash
}

// ParseConfig parses the config of an image with this manifest.
//
// ErrPlatform: the image is for another operating system or architecture. ErrTarget: a label
// names another Solo5 target.
func ParseConfig(raw []byte, manifest *v1.Manifest) (*ConfigFile, error) {
	var parsed struct {
		Architecture string `json:"architecture"`
		OS           string `json:"os"`
		Config       struct {
			Entrypoint, Cmd, Env         []string
			WorkingDir, User, StopSignal string
			ExposedPorts                 map[string]struct{}
			Labels                       map[string]string
		} `json:"config"`
		RootFS struct {
			DiffIDs []v1.Hash `json:"diff_ids"`
		} `json:"rootfs"`
	}
	if err := decode("config", raw, &parsed); err != nil {
		return nil, err
	}
	c := parsed.Config
	f := &ConfigFile{DiffIDs: parsed.RootFS.DiffIDs, Config: Config{
		Entrypoint: c.Entrypoint, Cmd: c.Cmd, Env: c.Env, WorkingDir: c.WorkingDir, User: c.User,
		StopSignal: c.StopSignal, ExposedPorts: slices.Sorted(maps.Keys(c.ExposedPorts)), Labels: c.Labels,
	}}
	if !isPlatform(parsed.OS, parsed.Architecture) {
		return nil, fmt.Errorf("%w: the image is for %s: %s", ErrPlatform, shortened(parsed.OS+"/"+parsed.Architecture), platformAdvice)
	}
	if target := c.Labels[TargetLabel]; target != "" && target != Target {
		return nil, fmt.Errorf("%w: its label %s is %s: build the image for %s", ErrTarget, TargetLabel, shortened(target), Target)
	}
	if len(f.DiffIDs) != len(manifest.Layers) {
		return nil, invalid("the config lists %d layers, but the manifest %d", len(f.DiffIDs), len(manifest.Layers))
	}
	for _, id := range f.DiffIDs {
		if err := checkDescriptor("uncompressed layer", v1.Descriptor{Digest: id}); err != nil {
			return nil, err
		}
	}
	return f, f.check()
}

// check bounds the config, and refuses text that the guest cannot get.
func (c *Config) check() error {
	size := 0
	count := func(values ...string) error {
		for _, value := range values {
			size += len(value) + 1
			if strings.ContainsRune(value, 0) {
				return invalid("the config contains a NUL byte in %s", shortened(value))
			}
		}
		if size > maxConfigText {
			return invalid("the config has over %d KiB of settings", maxConfigText>>10)
		}
		return nil
	}
	for _, values := range [][]string{
		c.Entrypoint, c.Cmd, c.Env, {c.WorkingDir, c.User, c.StopSignal}, c.ExposedPorts,
	} {
		if err := count(values...); err != nil {
			return err
		}
	}
	for key, value := range c.Labels {
		if err := count(key, value); err != nil {
			return err
		}
	}
	for _, variable := range c.Env {
		if strings.HasPrefix(variable, "=") {
			return invalid("the environment variable %s has no name", shortened(variable))
		}
	}
	return nil
}

// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"cmp"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/lkl-nomad/nomad-driver-lkl/image"
	"github.com/lkl-nomad/nomad-driver-lkl/image/reference"
	"github.com/lkl-nomad/nomad-driver-lkl/image/registry"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/problems"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/version"
)

const (
	// DefaultImagePullTimeout is the default of the task's option image_pull_timeout, and
	// the docker driver's.
	DefaultImagePullTimeout = "5m"
	// DefaultImageMaxAge is the default of image_gc's max_age. A job that runs once a week
	// finds its image in the cache.
	DefaultImageMaxAge = "192h"
	// DefaultImageMaxSize is the default of image_gc's max_size. It is enough for an image
	// of DefaultMaxRootfsSize and its successor.
	DefaultImageMaxSize = "20GiB"
)

// ClientAuth is the plugin's block auth.
type ClientAuth struct {
	Config string `codec:"config"`
	Helper string `codec:"helper"`
}

// Registry is one of the plugin's blocks registry.
type Registry struct {
	Host       string `codec:"host"`
	PlainHTTP  bool   `codec:"plain_http"`
	SkipVerify bool   `codec:"skip_verify"`
	CAFile     string `codec:"ca_file"`
}

// ImageGC is the plugin's block image_gc.
type ImageGC struct {
	Enabled bool   `codec:"enabled"`
	MaxAge  string `codec:"max_age"`
	MaxSize string `codec:"max_size"`
}

// TaskAuth is a task's block auth.
type TaskAuth struct {
	Username string `codec:"username"`
	Password string `codec:"password"`
}

// helperName matches the names of credential helpers, which are parts of file names.
var helperName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

// validateImages reports the mistakes in the plugin's options about images.
func (c *Config) validateImages(list *problems.List) {
	if c.Auth.Config != "" && !filepath.IsAbs(c.Auth.Config) {
		list.Addf("auth.config", "%q is not an absolute path, such as %q", c.Auth.Config, "/root/.docker/config.json")
	}
	if c.Auth.Helper != "" && !helperName.MatchString(c.Auth.Helper) {
		list.Addf("auth.helper", "%q is not the name of a credential helper, such as %q", c.Auth.Helper, "ecr-login")
	}
	for i, r := range c.Registries {
		field := fmt.Sprintf("registry[%d]", i)
		if slices.ContainsFunc(c.Registries[:i], func(o Registry) bool { return o.Host == r.Host }) {
			list.Addf(field, "%q has two registry blocks: remove one", r.Host)
		}
		r.validate(list, field)
	}
	if _, err := c.ImageGC.maxAge(); err != nil {
		list.Addf("image_gc.max_age", "%w", err)
	}
	if _, err := c.ImageGC.maxSize(); err != nil {
		list.Addf("image_gc.max_size", "%w", err)
	}
}

// validate reports the mistakes in a block registry.
func (r Registry) validate(list *problems.List, field string) {
	if r.PlainHTTP && (r.SkipVerify || r.CAFile != "") {
		list.Addf(field, "plain_http uses no certificates: remove it, or remove skip_verify and ca_file")
	}
	if r.CAFile != "" && !filepath.IsAbs(r.CAFile) {
		list.Addf(field, "ca_file %q is not an absolute path", r.CAFile)
		r.CAFile = ""
	}
	// The client finds mistakes in the host and in the file.
	alone := Config{Registries: []Registry{r}}
	if _, err := registry.New(alone.registryOptions()); err != nil {
		list.Addf(field, "%w", err)
	}
}

// registryOptions returns the settings of the client of registries.
func (c *Config) registryOptions() registry.Options {
	o := registry.Options{
		DockerConfig: c.Auth.Config, CredentialHelper: c.Auth.Helper, UserAgent: "nomad-driver-lkl/" + version.Version,
		Hosts: make(map[string]registry.Host, len(c.Registries)),
	}
	for _, r := range c.Registries {
		o.Hosts[r.Host] = registry.Host{PlainHTTP: r.PlainHTTP, SkipVerify: r.SkipVerify, CAFile: r.CAFile}
	}
	return o
}

// maxAge returns the max_age, or its default.
func (g ImageGC) maxAge() (time.Duration, error) { return parseDuration(g.MaxAge, DefaultImageMaxAge) }

// maxSize returns the max_size in bytes, or its default.
func (g ImageGC) maxSize() (int64, error) {
	return parseSize(cmp.Or(g.MaxSize, DefaultImageMaxSize))
}

// options returns the limits of the garbage collection. Without limits, it removes only the
// remains of killed plugins.
func (g ImageGC) options() (image.GCOptions, error) {
	if !g.Enabled {
		return image.GCOptions{}, nil
	}
	age, err := g.maxAge()
	if err != nil {
		return image.GCOptions{}, err
	}
	size, err := g.maxSize()
	return image.GCOptions{MaxAge: age, MaxBytes: size}, err
}

// validateSource checks that a job names its unikernel in one way.
func (t *TaskConfig) validateSource(list *problems.List) {
	if t.Image != "" {
		t.validateImage(list)
		return
	}
	if t.Kernel == "" {
		list.Addf("image", "is missing: set it to the reference of an image, such as %q, or set kernel to the path of a unikernel, such as %q",
			"registry.example.com/web:1.0", "local/web.spt")
	} else if err := checkJobPath(t.Kernel); err != nil {
		list.Addf("kernel", "%w", err)
	}
	for _, o := range []struct {
		name string
		set  bool
	}{
		{"entrypoint", len(t.Entrypoint) > 0},
		{"auth", t.Auth != nil},
		{"image_pull_policy", t.ImagePullPolicy != ""},
		// The schema sets its default, so the same value in the job is not a mistake.
		{"image_pull_timeout", t.ImagePullTimeout != "" && t.ImagePullTimeout != DefaultImagePullTimeout},
	} {
		if o.set {
			list.Addf(o.name, "is set without an image: set image too, or remove it")
		}
	}
}

// validateImage checks the options of a job with an image.
func (t *TaskConfig) validateImage(list *problems.List) {
	ref, err := reference.Parse(t.Image)
	switch {
	case err != nil:
		list.Addf("image", "%w", err)
	case ref.Path() != "":
		if err := checkJobPath(ref.Path()); err != nil {
			list.Addf("image", "%w", err)
		}
		if t.Auth != nil {
			list.Addf("auth", "is only for images from registries: remove it")
		}
	}
	checkText(list, "kernel", t.Kernel)
	if t.Rootfs != "" {
		list.Addf("rootfs", "conflicts with image, which contains the root file system: remove one of them")
	}
	for i, word := range t.Entrypoint {
		checkText(list, fmt.Sprintf("entrypoint[%d]", i), word)
	}
	t.validatePull(list)
}

// validatePull checks the options about the pull of an image.
func (t *TaskConfig) validatePull(list *problems.List) {
	if t.Auth != nil && t.Auth.Username == "" {
		list.Addf("auth.username", "is empty: set it, or remove the block auth")
	}
	if t.Auth != nil && t.Auth.Password == "" {
		list.Addf("auth.password", "is empty: set it, or remove the block auth")
	}
	oneOf(list, "image_pull_policy", t.ImagePullPolicy, pullPolicies)
	if _, err := t.pullTimeout(); err != nil {
		list.Addf("image_pull_timeout", "%w", err)
	}
}

// pullTimeout returns the image_pull_timeout, or its default.
func (t *TaskConfig) pullTimeout() (time.Duration, error) {
	return parseDuration(t.ImagePullTimeout, DefaultImagePullTimeout)
}

// checkText reports a NUL byte, which neither a path nor an argument can contain.
func checkText(list *problems.List, field, text string) {
	if strings.ContainsRune(text, 0) {
		list.Addf(field, "contains a NUL byte, which is not allowed here")
	}
}

// SPDX-License-Identifier: MPL-2.0

// Package registry runs Debian's docker-registry on the loopback address, for tests and
// the demonstration.
package registry

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv/daemon"
)

// readyTimeout is much longer than a start takes on a busy machine.
const readyTimeout = 90 * time.Second

// Options configure a registry.
type Options struct {
	// Program is the path of docker-registry: see [github.com/lkl-nomad/nomad-driver-lkl/testenv.Registry].
	Program string
	// Dir receives the configuration, the log and the blobs. It must exist.
	Dir string
	// Address is the host and port to listen on. Without it, the registry gets a free
	// port of 127.0.0.1.
	Address string
	// Users are names with their passwords. Without them, everyone may pull and push.
	Users map[string]string
}

// Registry is a registry that speaks plain HTTP.
type Registry struct {
	Host string // host and port, as image references contain them

	options Options
	process *daemon.Process
}

// Start starts a registry. It returns when the registry answers.
func Start(ctx context.Context, options Options) (*Registry, error) {
	r := &Registry{Host: options.Address, options: options}
	if r.Host == "" {
		var err error
		if r.Host, err = freeAddress(); err != nil {
			return nil, err
		}
	}
	if err := r.configure(); err != nil {
		return nil, err
	}
	return r, r.Start(ctx)
}

// Start starts the registry again after Stop, with the same address and content.
func (r *Registry) Start(ctx context.Context) (err error) {
	if r.process, err = daemon.Start(r.LogFile(), nil, r.options.Program, "serve", r.file("config.yml")); err != nil {
		return err
	}
	if err := daemon.Until(ctx, readyTimeout, r.ready); err != nil {
		return errors.Join(err, r.Stop())
	}
	return nil
}

// Stop stops the registry. After that, its port refuses connections.
func (r *Registry) Stop() error { return r.process.Stop() }

// LogFile returns the path of the log, which lists all requests.
func (r *Registry) LogFile() string { return r.file("registry.log") }

// PluginConfig returns the block of the plugin's configuration that lets tasks use the
// registry without TLS.
func (r *Registry) PluginConfig() string {
	return fmt.Sprintf("registry {\n  host       = %q\n  plain_http = true\n}\n", r.Host)
}

func (r *Registry) file(name string) string { return filepath.Join(r.options.Dir, name) }

func (r *Registry) configure() error {
	auth := ""
	if len(r.options.Users) > 0 {
		auth = fmt.Sprintf("auth:\n  htpasswd:\n    realm: registry\n    path: %s\n", r.file("htpasswd"))
		if err := r.writeUsers(); err != nil {
			return err
		}
	}
	config := fmt.Sprintf(`version: 0.1
log:
  level: warn
  accesslog:
    disabled: false
storage:
  filesystem:
    rootdirectory: %s
  delete:
    enabled: true
  maintenance:
    uploadpurging:
      enabled: false
http:
  addr: %s
  secret: the secret of a single registry
%s`, r.file("blobs"), r.Host, auth)
	return os.WriteFile(r.file("config.yml"), []byte(config), 0o600)
}

func (r *Registry) writeUsers() error {
	var lines strings.Builder
	for user, password := range r.options.Users {
		// The cheapest hash: the registry checks it again for each request.
		hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
		if err != nil {
			return fmt.Errorf("hash the password of %s: %w", user, err)
		}
		fmt.Fprintf(&lines, "%s:%s\n", user, hash)
	}
	return os.WriteFile(r.file("htpasswd"), []byte(lines.String()), 0o600)
}

// ready returns nil when the registry answers, with or without authentication.
func (r *Registry) ready() error {
	if err := r.process.Alive(); err != nil {
		return daemon.Final(err)
	}
	client := http.Client{Timeout: readyTimeout, Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Get("http://" + r.Host + "/v2/")
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK && answer.StatusCode != http.StatusUnauthorized {
		return fmt.Errorf("registry %s answers %s", r.Host, answer.Status)
	}
	return nil
}

// freeAddress returns a port of the loopback address on which nothing listens.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().String(), nil
}

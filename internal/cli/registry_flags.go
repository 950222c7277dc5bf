// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/lkl-nomad/nomad-driver-lkl/image/reference"
	"github.com/lkl-nomad/nomad-driver-lkl/image/registry"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/version"
)

// registryUsage describes the options of registryFlags.
const registryUsage = `Options for registries:

  --docker-config FILE      read credentials from docker's config.json (default
                            $DOCKER_CONFIG/config.json or ~/.docker/config.json)
  --credential-helper NAME  ask the program docker-credential-NAME for credentials
  --username USER           log in as USER, with --password-stdin
  --password-stdin          read the password from standard input
  --plain-http              use HTTP instead of HTTPS
  --ca-file FILE            also trust the certificate authorities in FILE (PEM)
  --skip-verify             accept any certificate of the registry
`

// maxPassword is the largest password in bytes that is read from stdin.
const maxPassword = 64 << 10

// registryFlags are the options that say how to reach the registries of references.
type registryFlags struct {
	dockerConfig, helper, username string
	passwordStdin                  bool
	host                           registry.Host
}

func (r *registryFlags) define(flags *flag.FlagSet) {
	flags.StringVar(&r.dockerConfig, "docker-config", "", "")
	flags.StringVar(&r.helper, "credential-helper", "", "")
	flags.StringVar(&r.username, "username", "", "")
	flags.BoolVar(&r.passwordStdin, "password-stdin", false, "")
	flags.BoolVar(&r.host.PlainHTTP, "plain-http", false, "")
	flags.StringVar(&r.host.CAFile, "ca-file", "", "")
	flags.BoolVar(&r.host.SkipVerify, "skip-verify", false, "")
}

// check finds options that exclude or require each other.
func (r *registryFlags) check() error {
	switch {
	case r.username != "" && !r.passwordStdin:
		return errors.New("--username requires --password-stdin: pass the password on standard input, so that no other user sees it")
	case r.username == "" && r.passwordStdin:
		return errors.New("--password-stdin requires --username")
	case r.host.PlainHTTP && (r.host.CAFile != "" || r.host.SkipVerify):
		return errors.New("--plain-http excludes --ca-file and --skip-verify, which are options of HTTPS")
	}
	return nil
}

// client returns a client for the registries of the references. It refuses to send one
// password to several registries.
func (r *registryFlags) client(references []reference.Reference) (*registry.Client, error) {
	hosts := make(map[string]registry.Host)
	for _, ref := range references {
		if !ref.IsLocal() {
			hosts[ref.Host()] = r.host
		}
	}
	if r.username != "" && len(hosts) > 1 {
		return nil, fmt.Errorf("--username is for one registry, not for %s: run the command once for each registry",
			strings.Join(slices.Sorted(maps.Keys(hosts)), " and "))
	}
	config := r.dockerConfig
	if config == "" {
		config = defaultDockerConfig()
	}
	return registry.New(registry.Options{
		DockerConfig: config, CredentialHelper: r.helper, Hosts: hosts, UserAgent: "lkl/" + version.Version,
		CommandLine: true,
	})
}

// credentials returns those of the options, or nil. It may read stdin.
func (r *registryFlags) credentials(stdin io.Reader) (*registry.Credentials, error) {
	if !r.passwordStdin {
		return nil, nil
	}
	content, err := io.ReadAll(io.LimitReader(stdin, maxPassword+1))
	password := strings.TrimRight(string(content), "\r\n")
	switch {
	case err != nil:
		return nil, fmt.Errorf("read the password from standard input: %w", err)
	case len(content) > maxPassword:
		return nil, fmt.Errorf("the password on standard input has more than %d bytes", maxPassword)
	case password == "":
		return nil, errors.New("the password on standard input is empty")
	}
	return &registry.Credentials{Username: r.username, Password: password}, nil
}

// defaultDockerConfig returns the path of the configuration that docker would use, or
// "" if that does not exist.
func defaultDockerConfig() string {
	dir := os.Getenv("DOCKER_CONFIG")
	if dir == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return ""
		}
		dir = filepath.Join(home, ".docker")
	}
	path := filepath.Join(dir, "config.json")
	if _, err := os.Stat(path); err != nil {
		return ""
	}
	return path
}

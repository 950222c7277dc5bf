// SPDX-License-Identifier: MPL-2.0

// Package registry reads images from registries that speak the OCI distribution protocol,
// and pushes images to them.
//
// A registry is untrusted. It chooses redirects, token servers and upload locations, so the
// package checks each URL of a registry before it sends a request there. It bounds the
// memory of each response and the time in which a server sends nothing. It sends
// credentials and tokens to the registry itself, and credentials to the token server that
// the registry names.
//
// go-containerregistry logs in, describes manifests and uploads blobs. Its requests go
// through the RoundTripper of this package, which enforces the limits. These parts are not
// the library's:
//   - Downloads of blobs, because the library cannot continue one that breaks off.
//   - Retries, because the library's pauses end neither with the context nor as the header
//     Retry-After says.
//   - The order of uploads, because the library uploads nothing if the registry has the
//     manifest, and a registry that has lost a blob could not be mended.
//   - The search for credentials, because docker's library for config.json limits neither
//     the time nor the output of a credential helper, and refuses the whole file for one
//     invalid entry.
package registry

import (
	"crypto/x509"
	"fmt"
	"net/url"
	"os"
	"strings"

	"golang.org/x/net/http/httpproxy"

	"github.com/lkl-nomad/nomad-driver-lkl/image/reference"
	"github.com/lkl-nomad/nomad-driver-lkl/image/source"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/problems"
)

// Options are the operator's configuration.
type Options struct {
	// DockerConfig is the path of a config.json of docker, or "". It is read when a
	// registry asks for credentials.
	DockerConfig string
	// CredentialHelper is the NAME of a program docker-credential-NAME, or "".
	CredentialHelper string
	// Hosts configures registries by their host, with the port if the references have one.
	Hosts map[string]Host
	// UserAgent identifies the program to registries.
	UserAgent string
	// CommandLine makes errors name the options of the commands as remedies, instead of
	// those of the plugin's configuration and of jobs.
	CommandLine bool
}

// Host is the configuration of one registry.
type Host struct {
	PlainHTTP  bool   // use HTTP instead of HTTPS
	SkipVerify bool   // accept any certificate
	CAFile     string // PEM file of authorities, in addition to those of the system
}

// Credentials are those of a job.
type Credentials struct {
	Username, Password string
}

// String hides the password.
func (c Credentials) String() string { return fmt.Sprintf("credentials of user %q", c.Username) }

// GoString hides the password.
func (c Credentials) GoString() string { return c.String() }

// Client opens images in registries. Its methods may be called by several goroutines.
type Client struct {
	dockerConfig string
	helper       string
	userAgent    string
	hosts        map[string]host // by hostKey
	proxy        func(*url.URL) (*url.URL, error)
	limits       limits
	commandLine  bool
}

// host is a Host with its certificates.
type host struct {
	Host
	roots *x509.CertPool // nil means those of the system
}

// New returns a client. It reports all mistakes of the configuration. Proxies come from the
// environment: HTTPS_PROXY, HTTP_PROXY and NO_PROXY.
func New(o Options) (*Client, error) {
	c := &Client{
		dockerConfig: o.DockerConfig,
		helper:       o.CredentialHelper,
		userAgent:    o.UserAgent,
		hosts:        make(map[string]host, len(o.Hosts)),
		proxy:        httpproxy.FromEnvironment().ProxyFunc(),
		limits:       defaultLimits,
		commandLine:  o.CommandLine,
	}
	if c.userAgent == "" {
		c.userAgent = "nomad-driver-lkl"
	}
	var list problems.List
	if strings.ContainsAny(c.helper, "/\x00") {
		list.Addf("", "credential helper %q must be the NAME of a program docker-credential-NAME on the PATH", c.helper)
	}
	for name, config := range o.Hosts {
		key, err := configuredKey(name, config.PlainHTTP)
		if err != nil {
			list.Addf("", "%w", err)
		}
		roots, err := readRoots(config.CAFile)
		if err != nil {
			list.Addf("", "registry %q: %w", name, err)
		}
		c.hosts[key] = host{Host: config, roots: roots}
	}
	return c, list.Err()
}

func readRoots(path string) (*x509.CertPool, error) {
	if path == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("ca_file: %w", err)
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("ca_file %q contains no certificate in PEM format", path)
	}
	return roots, nil
}

// Source opens an image without contacting the registry. Without credentials, those of the
// plugin's configuration are used if the registry asks for some. The caller must close the
// source.
func (c *Client) Source(ref reference.Reference, credentials *Credentials) (source.Source, error) {
	s, err := c.open(ref, credentials, actionPull)
	if err != nil {
		return nil, err
	}
	return &registrySource{session: s, ref: ref}, nil
}

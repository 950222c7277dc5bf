// SPDX-License-Identifier: MPL-2.0

package registry

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"unicode"

	"github.com/lkl-nomad/nomad-driver-lkl/image/reference"
)

// dockerHub is Docker Hub's name in references, and dockerHubServer the host that answers.
const (
	dockerHub       = "docker.io"
	dockerHubServer = "registry-1.docker.io"
)

// serverOf returns the host that answers for the host of a reference.
func serverOf(host string) string {
	switch host {
	case dockerHub, "index.docker.io":
		return dockerHubServer
	}
	return host
}

// hostKey identifies the server of a URL by its host and port.
func hostKey(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80"}[u.Scheme]
	}
	if port == "" {
		port = "443"
	}
	return net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}

// configuredKey is the hostKey of a registry in the configuration.
func configuredKey(name string, plain bool) (string, error) {
	// The parser of references checks the host. A name that is not a host names a
	// repository of Docker Hub.
	ref, err := reference.Parse(name + "/x")
	if err != nil || strings.ContainsAny(name, "/@") || ref.Host() == dockerHub && ref.Repository() != "library/x" {
		return "", fmt.Errorf("registry %q must be the host of a registry as references contain it, with a dot or a port, such as \"registry.example.com:5000\"", name)
	}
	u := url.URL{Scheme: "https", Host: serverOf(ref.Host())}
	if plain {
		u.Scheme = "http"
	}
	return hostKey(&u), nil
}

// baseURL returns the address of a registry. Only the configuration selects plain HTTP,
// also for the loopback address.
func (c *Client) baseURL(host string) *url.URL {
	u := &url.URL{Scheme: "http", Host: serverOf(host)}
	if !c.hosts[hostKey(u)].PlainHTTP {
		u.Scheme = "https"
	}
	return u
}

// checkTarget decides whether requests may go to a URL that a registry chose: a redirect, a
// token server or an upload location.
//
// The plugin runs inside the operator's network, and a registry may be hostile. Plain HTTP
// reaches only configured hosts, which excludes the metadata services of clouds. HTTPS
// reaches only servers with a valid certificate for the name in the URL. A name that resolves
// to a private address therefore reaches no other service. checkTarget also refuses the
// addresses of private networks, except to registries that have such an address themselves.
func (s *session) checkTarget(u *url.URL) error {
	if u.Host == "" || u.User != nil {
		return errors.New("the URL has no host, or contains a user name")
	}
	key := hostKey(u)
	config, configured := s.client.hosts[key]
	switch {
	case u.Scheme == "http" && config.PlainHTTP:
		return nil
	case u.Scheme == "http":
		return fmt.Errorf("it uses plain HTTP: if the network is trusted, %s", s.client.configure(u, "plain_http = true", "--plain-http"))
	case u.Scheme != "https":
		return fmt.Errorf("its scheme %.20q is not https", u.Scheme)
	case configured || key == hostKey(s.base):
		return nil
	case isPrivate(u.Hostname()) && !isPrivate(s.base.Hostname()):
		return fmt.Errorf("it has a private address: if that is intended, configure registry %q in the plugin's configuration%s", u.Host,
			s.client.remedy("", ", and pull the image with the driver"))
	}
	return nil
}

// isPrivate reports whether a host is the address of this host or of a private network.
func isPrivate(host string) bool {
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return false
	}
	ip = ip.Unmap()
	return ip.IsPrivate() || ip.IsLoopback() || ip.IsLinkLocalUnicast() || ip.IsUnspecified() || ip.IsMulticast()
}

// display returns a URL without the parts that can contain secrets.
func display(u *url.URL) string {
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: clip(u.Path)}).String()
}

// maxText is the length to which texts of servers are shortened in messages.
const maxText = 300

// clip makes the text of a server fit for a message: short, and on one line.
func clip(s string) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) { // also those that change the direction of a text
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s[:min(len(s), maxText)], "?"))
	return strings.TrimSpace(s)
}

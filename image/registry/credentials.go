// SPDX-License-Identifier: MPL-2.0

package registry

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/lkl-nomad/nomad-driver-lkl/image/source"
)

// dockerHubKey is Docker Hub's key in docker's configuration and in credential helpers.
const dockerHubKey = "https://index.docker.io/v1/"

// maxConfigSize is the largest config.json in bytes.
const maxConfigSize = 1 << 20

// findLogin looks for credentials in the order of Nomad's docker driver: the job's, those
// of docker's configuration, the plugin's credential helper. Without any, the login is
// anonymous. The first call decides for the session.
func (s *session) findLogin(ctx context.Context) (login, error) {
	s.mu.Lock()
	found := s.login
	s.mu.Unlock()
	if found != nil {
		return *found, nil
	}
	l, err := s.lookUp(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return login{}, fmt.Errorf("login to registry %s: %w", s.base.Host, context.Cause(ctx))
		}
		return login{}, &failure{kind: source.ErrUnauthorized, reason: fmt.Errorf("registry %s asks for credentials: %w", s.base.Host, err)}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.login = &l
	return l, nil
}

func (s *session) lookUp(ctx context.Context) (login, error) {
	if c := s.credentials; c != nil && (c.Username != "" || c.Password != "") {
		return login{username: c.Username, password: c.Password, origin: "the job"}, nil
	}
	if path := s.client.dockerConfig; path != "" {
		config, err := readDockerConfig(path)
		if err != nil {
			return login{}, err
		}
		l, err := config.login(s.base.Host, s.repo)
		if err != nil {
			return login{}, fmt.Errorf("docker configuration %q, registry %q: %w", path, s.base.Host, err)
		}
		if l != (login{}) {
			l.origin = path
			return l, nil
		}
		l, err = s.askHelper(ctx, config.helper(s.base.Host))
		if err != nil || l != (login{}) {
			return l, err
		}
	}
	return s.askHelper(ctx, s.client.helper)
}

// dockerConfig is the part of a config.json that concerns credentials.
type dockerConfig struct {
	Auths       map[string]dockerAuth `json:"auths"`
	CredHelpers map[string]string     `json:"credHelpers"`
	CredsStore  string                `json:"credsStore"`
}

type dockerAuth struct {
	Auth          string `json:"auth"`
	Username      string `json:"username"`
	Password      string `json:"password"`
	IdentityToken string `json:"identitytoken"`
	RegistryToken string `json:"registrytoken"`
}

func readDockerConfig(path string) (*dockerConfig, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("docker configuration: %w", err)
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxConfigSize+1))
	if err != nil {
		return nil, fmt.Errorf("docker configuration: %w", err)
	}
	if len(content) > maxConfigSize {
		return nil, fmt.Errorf("docker configuration %q has more than %d bytes", path, maxConfigSize)
	}
	var parsed dockerConfig
	// The error of the parser can quote a secret.
	if json.NewDecoder(bytes.NewReader(content)).Decode(&parsed) != nil {
		return nil, fmt.Errorf("docker configuration %q is not valid JSON: write it with docker login", path)
	}
	var c dockerConfig
	c.CredsStore = parsed.CredsStore
	c.Auths, c.CredHelpers = byHost(parsed.Auths), byHost(parsed.CredHelpers)
	return &c, nil
}

// byHost changes the keys to hosts, or hosts with a path. Docker accepts URLs, also with
// the path of the registry's API.
func byHost[V any](values map[string]V) map[string]V {
	hosts := make(map[string]V, len(values))
	for _, written := range []bool{false, true} { // an exact key replaces a URL of the host
		for key, value := range values {
			host := key
			if _, rest, ok := strings.Cut(key, "://"); ok {
				host = strings.TrimSuffix(rest, "/")
				host = strings.TrimSuffix(strings.TrimSuffix(host, "/v1"), "/v2")
			}
			name, path, hasPath := strings.Cut(host, "/")
			name = serverOf(strings.ToLower(name))
			if hasPath {
				name += "/" + path
			}
			if (host == key) == written {
				hosts[name] = value
			}
		}
	}
	return hosts
}

// decode sets the user name and the password from the field that docker login writes.
func (a *dockerAuth) decode() error {
	if a.Auth == "" {
		return nil
	}
	encoded := strings.TrimRight(strings.TrimSpace(a.Auth), "=")
	decoded, err := base64.RawStdEncoding.DecodeString(encoded)
	username, password, ok := strings.Cut(strings.TrimRight(string(decoded), "\x00"), ":")
	if err != nil || !ok {
		return errors.New("auth must be the Base64 form of USER:PASSWORD")
	}
	a.Username, a.Password = username, password
	return nil
}

// login returns the credentials for a repository. Podman writes keys with a part of the
// path, and the longest one decides.
func (c *dockerConfig) login(host, repo string) (login, error) {
	key := host + "/" + repo
	for {
		if auth, ok := c.Auths[key]; ok {
			err := auth.decode()
			return login{
				username: auth.Username, password: auth.Password,
				identityToken: auth.IdentityToken, registryToken: auth.RegistryToken,
			}, err
		}
		slash := strings.LastIndexByte(key, '/')
		if slash < 0 {
			return login{}, nil
		}
		key = key[:slash]
	}
}

// helper returns the name of the credential helper for a registry, or "".
func (c *dockerConfig) helper(host string) string {
	if name, ok := c.CredHelpers[host]; ok {
		return name
	}
	return c.CredsStore
}

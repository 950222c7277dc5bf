// SPDX-License-Identifier: MPL-2.0

package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/lkl-nomad/nomad-driver-lkl/image/source"
)

// dockerHubKey is Docker Hub's key in docker's configuration and in credential helpers.
const dockerHubKey = "https://index.docker.io/v1/"

// maxConfigSize is the largest config.json in bytes.
const maxConfigSize = 1 << 20

// login is how a registry's users identify themselves.
type login struct {
	authn.AuthConfig
	origin string // for errors; "" without credentials
}

// Authorization implements authn.Authenticator. The library calls AuthorizationContext.
func (s *session) Authorization() (*authn.AuthConfig, error) {
	return s.AuthorizationContext(context.Background())
}

// AuthorizationContext returns the credentials for the registry. If the registry has not
// asked for any, it returns anonymous ones. The first successful search decides for the
// session.
func (s *session) AuthorizationContext(ctx context.Context) (*authn.AuthConfig, error) {
	s.mu.Lock()
	asked, found := s.asked, s.login
	s.mu.Unlock()
	switch {
	case !asked:
		return &authn.AuthConfig{}, nil
	case found != nil:
		return &found.AuthConfig, nil
	}
	l, err := s.findLogin(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("login to registry %s: %w", s.base.Host, context.Cause(ctx))
		}
		return nil, fail(source.ErrUnauthorized, "registry %s asks for credentials: %w", s.base.Host, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.login = &l
	return &l.AuthConfig, nil
}

// usedLogin returns the login that the session has looked up.
func (s *session) usedLogin() login {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.login == nil {
		return login{}
	}
	return *s.login
}

// hideSecrets removes credentials, and the token in an Authorization header, from the text
// of a server, which may repeat them.
func (s *session) hideSecrets(text, authorization string) string {
	l := s.usedLogin()
	_, token, _ := strings.Cut(authorization, " ")
	for _, secret := range []string{l.Password, l.IdentityToken, l.RegistryToken, token} {
		if secret != "" {
			text = strings.ReplaceAll(text, secret, "…")
		}
	}
	return text
}

// findLogin looks for credentials in the order of Nomad's docker driver: the job's, those
// of docker's configuration, the plugin's credential helper. Without any, the login is
// anonymous.
func (s *session) findLogin(ctx context.Context) (login, error) {
	if c := s.credentials; c != nil && (c.Username != "" || c.Password != "") {
		return login{authn.AuthConfig{Username: c.Username, Password: c.Password}, s.client.remedy("the job", "--username")}, nil
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
	Auths       map[string]json.RawMessage `json:"auths"`
	CredHelpers map[string]string          `json:"credHelpers"`
	CredsStore  string                     `json:"credsStore"`
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

// login returns the credentials for a repository. Podman writes keys with a part of the
// path, and the longest one decides.
func (c *dockerConfig) login(host, repo string) (login, error) {
	key := host + "/" + repo
	for {
		if content, ok := c.Auths[key]; ok {
			var l login
			// The error of the parser can quote a secret.
			if json.Unmarshal(content, &l.AuthConfig) != nil {
				return login{}, errors.New("auth must be the Base64 form of USER:PASSWORD")
			}
			return l, nil
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

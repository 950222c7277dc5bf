// SPDX-License-Identifier: MPL-2.0

package registry

import (
	"fmt"
	"net/url"

	"github.com/lkl-nomad/nomad-driver-lkl/image/source"
)

// remedy returns the remedy of the program that uses the client.
func (c *Client) remedy(plugin, command string) string {
	if c.commandLine {
		return command
	}
	return plugin
}

// configure returns the remedy for a server that needs a setting of a block registry, or
// the option of a command.
func (c *Client) configure(u *url.URL, setting, option string) string {
	if !c.commandLine {
		return fmt.Sprintf("configure registry %q with %s in the plugin's configuration", u.Host, setting)
	}
	if _, named := c.hosts[hostKey(u)]; named {
		return "use " + option
	}
	return fmt.Sprintf("%s is only for the host of the image reference, so pull the image with the driver, "+
		"whose configuration can have a block registry for %q", option, u.Host)
}

// tryHTTPS returns the remedy for a server that does not understand plain HTTP.
func (c *Client) tryHTTPS() string {
	return "the registry may speak HTTPS: " + c.remedy(
		"remove plain_http from its block registry in the plugin's configuration", "try without --plain-http")
}

// unauthorized says which credentials the registry refuses.
func (s *session) unauthorized(what, text string) *failure {
	login := s.usedLogin()
	if login.origin != "" {
		check := "check user name and password"
		switch s.action {
		case actionPull:
			check += ", and that the user has access to the image"
		case actionPush:
			check += ", and that the user may push to " + s.repo
		}
		return fail(source.ErrUnauthorized, "%s: %s with the credentials from %s: %s", what, text, login.origin, check)
	}
	reason := "the registry requires a login"
	if s.action == actionPull {
		reason = "the image is private or does not exist"
	}
	return fail(source.ErrUnauthorized, "%s: %s without credentials: %s: %s", what, text, reason, s.client.remedy(
		"for a private image, set auth in the task or in the plugin's configuration",
		"log in with docker login, or use --username and --password-stdin"))
}

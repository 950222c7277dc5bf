// SPDX-License-Identifier: MPL-2.0

// Package resolvconf reads and writes the configuration of a C library's DNS resolver,
// resolv.conf(5).
package resolvconf

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Config is the content of a resolv.conf. The zero value is an empty file.
type Config struct {
	Servers  []string // IP addresses, also with an IPv6 zone
	Searches []string // domains
	Options  []string // such as "ndots:2"
}

// Limits of the resolvers.
const (
	// MaxServers is the number of servers that glibc and musl use.
	MaxServers = 3
	// maxLine is the longest line that musl does not ignore, in bytes without the
	// newline.
	maxLine = 254
)

// Parse reads a resolv.conf as glibc does: the last search or domain line counts, options
// add up, and a comment begins with # or ; and ends a line. Words that no resolver could use,
// such as a server that is not an IP address, are left out.
func Parse(text string) Config {
	var c Config
	for line := range strings.Lines(text) {
		if comment := strings.IndexAny(line, "#;"); comment >= 0 {
			line = line[:comment]
		}
		words := strings.Fields(line)
		if len(words) < 2 {
			continue
		}
		values := slices.DeleteFunc(words[1:], func(word string) bool { return !isWord(word) })
		switch words[0] {
		case "nameserver":
			if len(values) > 0 && isAddress(values[0]) {
				c.Servers = append(c.Servers, values[0])
			}
		case "search":
			c.Searches = values
		case "domain":
			c.Searches = values[:min(1, len(values))]
		case "options":
			c.Options = append(c.Options, values...)
		}
	}
	return c
}

// CheckServer returns an error if a server cannot be part of a resolv.conf.
func CheckServer(server string) error {
	if !isWord(server) || !isAddress(server) {
		return fmt.Errorf("%q is not an IP address, such as %q", server, "10.0.0.53")
	}
	return nil
}

// CheckWords returns an error if a search domain or an option has a character that would
// end it. It may consist of several words.
func CheckWords(text string) error {
	for word := range strings.FieldsSeq(text) {
		if !isWord(word) {
			return fmt.Errorf("%q must be printable ASCII, without %q and %q", text, "#", ";")
		}
	}
	if strings.ContainsAny(text, "\r\n") {
		return fmt.Errorf("%q must be one line", text)
	}
	return nil
}

func isAddress(word string) bool {
	_, err := netip.ParseAddr(word)
	return err == nil
}

// isWord reports whether a word is printable ASCII and does not begin a comment.
func isWord(word string) bool {
	for _, b := range []byte(word) {
		if b <= ' ' || b > '~' || b == '#' || b == ';' {
			return false
		}
	}
	return word != ""
}

// Override returns c with the fields that o has.
func (c Config) Override(o Config) Config {
	for _, field := range []struct {
		to   *[]string
		from []string
	}{{&c.Servers, o.Servers}, {&c.Searches, o.Searches}, {&c.Options, o.Options}} {
		if words := splitWords(field.from); len(words) > 0 {
			*field.to = words
		}
	}
	return c
}

func splitWords(texts []string) []string { return strings.Fields(strings.Join(texts, " ")) }

// FitSearches leaves out the last search domains, so that musl does not ignore the others,
// and returns how many it has left out. The only domain "." means no domain.
func (c *Config) FitSearches() int {
	all := c.Searches
	if slices.Equal(all, []string{"."}) {
		c.Searches = nil
		return 0
	}
	length := len("search")
	for i, domain := range all {
		if length += 1 + len(domain); length > maxLine {
			c.Searches = all[:i:i]
			return len(all) - i
		}
	}
	return 0
}

// String returns the file. Options are spread over several lines if one would be too long.
func (c Config) String() string {
	var b strings.Builder
	for _, server := range c.Servers {
		b.WriteString("nameserver " + server + "\n")
	}
	if len(c.Searches) > 0 {
		b.WriteString("search " + strings.Join(c.Searches, " ") + "\n")
	}
	line := "options"
	for i, option := range c.Options {
		if i > 0 && len(line)+1+len(option) > maxLine {
			b.WriteString(line + "\n")
			line = "options"
		}
		line += " " + option
	}
	if len(c.Options) > 0 {
		b.WriteString(line + "\n")
	}
	return b.String()
}

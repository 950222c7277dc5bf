// SPDX-License-Identifier: MPL-2.0

package lkl_test

import (
	"errors"
	"fmt"
	"strings"
)

// The guest's side of the command line, written from the observed behavior of
// legacy guests. The tests compare with it.

// splitWords splits a command line as buildargv of GNU libiberty does: at white
// space outside quotes. A backslash keeps the next byte, inside quotes too.
func splitWords(line string) []string {
	var words []string
	var word []byte
	inside := false // inside a word
	quote := byte(0)
	for i := 0; i < len(line); i++ {
		c := line[i]
		switch {
		case c == '\\' && i+1 < len(line):
			i++
			word, inside = append(word, line[i]), true
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
			word = append(word, c)
		case c == '\'' || c == '"':
			quote, inside = c, true
		case strings.IndexByte(" \t\n\v\f\r", c) < 0:
			word, inside = append(word, c), true
		case inside:
			words, word, inside = append(words, string(word)), nil, false
		}
	}
	if inside {
		words = append(words, string(word))
	}
	return words
}

// A parsedLine is a command line as an LKL guest reads it.
type parsedLine struct {
	env, args []string
	config    string
}

// parseLine reads a command line as an LKL guest does, Solo5's bindings first.
func parseLine(line string) (parsedLine, error) {
	var s parsedLine
	if strings.HasPrefix(strings.TrimLeft(line, " \t\n\v\f\r"), "--solo5:") {
		return s, errors.New("the bindings consume the first word")
	}
	words := splitWords(line)
	for len(words) > 0 {
		w := words[0]
		words = words[1:]
		switch {
		case strings.HasPrefix(w, "-c") || strings.HasPrefix(w, "--config"):
			if len(words) == 0 {
				return s, errors.New("no configuration after the option")
			}
			s.config, words = words[0], words[1:]
		case strings.HasPrefix(w, "--"):
			s.args = words
			return s, nil
		default:
			s.env = append(s.env, w)
		}
	}
	return s, errors.New("no separator")
}

// knownKeys are the keys that legacy guests know, in an interface or outside.
var knownKeys = map[bool]string{
	true:  " type name param mtu ip ipv6 ifgateway ifgateway6 mac masklen masklen6 neigh qdisc offload ",
	false: " interfaces gateway gateway6 debug mount singlecpu sysctl boot_cmdline dump delay_main ",
}

// A guestConfig is a configuration as the guest's parser reads it.
type guestConfig struct {
	settings   map[string]string
	interfaces []map[string]string
	tokens     int
	rest       string
}

// parseConfig reads a configuration as a legacy guest does: strings only, no
// escapes. An unknown key or a 301st token is fatal.
func parseConfig(text string) (*guestConfig, error) {
	c := &guestConfig{rest: text}
	var err error
	c.settings, err = c.object(false)
	switch {
	case err != nil:
		return nil, err
	case c.rest != "":
		return nil, fmt.Errorf("trailing %q", c.rest)
	case c.tokens > 300:
		return nil, fmt.Errorf("%d tokens", c.tokens)
	}
	return c, nil
}

func (c *guestConfig) take(s string) bool {
	rest, ok := strings.CutPrefix(c.rest, s)
	c.rest = rest
	return ok
}

func (c *guestConfig) text() (string, error) {
	c.tokens++
	if !c.take(`"`) {
		return "", fmt.Errorf("no string at %q", c.rest)
	}
	text, rest, ok := strings.Cut(c.rest, `"`)
	if !ok || strings.Contains(text, `\`) {
		return "", fmt.Errorf("unterminated or escaped string at %q", c.rest)
	}
	c.rest = rest
	return text, nil
}

func (c *guestConfig) object(inner bool) (map[string]string, error) {
	c.tokens++
	members := make(map[string]string)
	if !c.take("{") {
		return nil, fmt.Errorf("no object at %q", c.rest)
	}
	for !c.take("}") {
		if len(members)+len(c.interfaces) > 0 && !c.take(",") {
			return nil, fmt.Errorf("no comma at %q", c.rest)
		}
		key, err := c.text()
		if err != nil {
			return nil, err
		}
		if !strings.Contains(knownKeys[inner], " "+key+" ") || !c.take(":") {
			return nil, fmt.Errorf("key %q", key)
		}
		if key == "interfaces" {
			if err := c.list(); err != nil {
				return nil, err
			}
			continue
		}
		if members[key], err = c.text(); err != nil {
			return nil, err
		}
	}
	return members, nil
}

func (c *guestConfig) list() error {
	c.tokens++
	if !c.take("[") {
		return fmt.Errorf("no list at %q", c.rest)
	}
	// object must not see the interfaces found so far: it would expect a comma.
	var found []map[string]string
	for !c.take("]") {
		if len(found) > 0 && !c.take(",") {
			return fmt.Errorf("no comma at %q", c.rest)
		}
		members, err := c.object(true)
		if err != nil {
			return err
		}
		found = append(found, members)
	}
	c.interfaces = found
	return nil
}

// SPDX-License-Identifier: MPL-2.0

package unikernel

import (
	"errors"
	"fmt"
	"strings"
)

// What follows is the guest's side, written anew from what the guests of 2020
// were seen to do: the oracle of the tests.

// splitWords splits a command line as gcc's buildargv does: white space
// separates, quotes and backslashes keep it, and a backslash works everywhere.
func splitWords(line string) []string {
	var words []string
	var word []byte
	inside := false // a word has begun
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

// A start is what an LKL guest makes of its command line.
type start struct {
	env, args []string
	config    string
}

// startLKL reads a command line as an LKL guest does, Solo5's bindings first.
func startLKL(line string) (start, error) {
	var s start
	if strings.HasPrefix(strings.TrimLeft(line, " \t\n\v\f\r"), "--solo5:") {
		return s, errors.New("the bindings take the first word")
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
	return s, errors.New("no end of the environment")
}

// knownKeys are the keys that the guests of 2020 know, of which we write some.
var knownKeys = map[bool]string{
	true:  " type name param mtu ip ipv6 ifgateway ifgateway6 mac masklen masklen6 neigh qdisc offload ",
	false: " interfaces gateway gateway6 debug mount singlecpu sysctl boot_cmdline dump delay_main ",
}

// A guestConfig is what the guest's parser makes of a configuration.
type guestConfig struct {
	settings   map[string]string
	interfaces []map[string]string
	tokens     int
	rest       string
}

// parseConfig reads a configuration as the guest does: strings alone, nothing
// escaped, an unknown key or a 301st token is fatal.
func parseConfig(text string) (*guestConfig, error) {
	c := &guestConfig{rest: text}
	var err error
	c.settings, err = c.object(false)
	switch {
	case err != nil:
		return nil, err
	case c.rest != "":
		return nil, fmt.Errorf("rest %q", c.rest)
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
		return "", fmt.Errorf("a string that is not closed or has an escape at %q", c.rest)
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
	// The interfaces found so far stay out of object's sight, which would
	// expect a comma otherwise.
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

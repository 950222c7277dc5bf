// SPDX-License-Identifier: MPL-2.0

package registry

import "strings"

// challenge is one challenge of a WWW-Authenticate header: RFC 9110, section 11.6.1.
type challenge struct {
	scheme     string // in lower case
	parameters map[string]string
}

// parseChallenges reads the challenges of all headers, up to the first mistake in each.
func parseChallenges(headers []string) (challenges []challenge) {
	for _, header := range headers {
		p := challengeParser{rest: header}
		for {
			c, ok := p.challenge()
			if !ok {
				break
			}
			challenges = append(challenges, c)
		}
	}
	return challenges
}

type challengeParser struct{ rest string }

func (p *challengeParser) challenge() (challenge, bool) {
	p.skip(" \t,")
	scheme := p.token()
	if scheme == "" {
		return challenge{}, false
	}
	c := challenge{scheme: strings.ToLower(scheme), parameters: map[string]string{}}
	for {
		before := p.rest
		p.skip(" \t,")
		name := p.token()
		p.skip(" \t")
		if name == "" || !strings.HasPrefix(p.rest, "=") {
			p.rest = before // the scheme of the next challenge
			return c, true
		}
		p.rest = p.rest[1:]
		p.skip(" \t")
		value, ok := p.value()
		if !ok {
			p.rest = ""
			return c, true
		}
		if name = strings.ToLower(name); c.parameters[name] == "" {
			c.parameters[name] = value
		}
	}
}

func (p *challengeParser) skip(characters string) { p.rest = strings.TrimLeft(p.rest, characters) }

func (p *challengeParser) token() string {
	end := strings.IndexFunc(p.rest, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
	})
	if end < 0 {
		end = len(p.rest)
	}
	token := p.rest[:end]
	p.rest = p.rest[end:]
	return token
}

// value reads a quoted string, or text without quotation marks up to a comma or a blank.
func (p *challengeParser) value() (string, bool) {
	if !strings.HasPrefix(p.rest, `"`) {
		end := strings.IndexAny(p.rest, " \t,")
		if end < 0 {
			end = len(p.rest)
		}
		value := p.rest[:end]
		p.rest = p.rest[end:]
		return value, true
	}
	var value strings.Builder
	for i := 1; i < len(p.rest); i++ {
		switch c := p.rest[i]; {
		case c == '"':
			p.rest = p.rest[i+1:]
			return value.String(), true
		case c == '\\' && i+1 < len(p.rest):
			i++
			value.WriteByte(p.rest[i])
		default:
			value.WriteByte(c)
		}
	}
	return "", false
}

// SPDX-License-Identifier: MPL-2.0

package lkl

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"

	"github.com/lkl-nomad/nomad-driver-lkl/unikernel/cmdline"
)

// AddMounts adds mounts to the configuration in a command line that a user has written.
// The guest carries them out before the mounts that the configuration has already. It must
// have FeatureConfig.
func AddMounts(line string, mounts []Mount) (string, error) {
	option := findConfig(line)
	config, err := mergeMounts(option.text, mounts)
	if err != nil {
		return "", err
	}
	return option.replace(line, config), nil
}

// SetOutput sets the output and the program's name in the configuration of a command line
// that a user has written. Keys that the user has set, and an empty name, stay. The guest must
// have FeatureOutput.
func SetOutput(line string, output Output, name string) (string, error) {
	if err := CheckName(name); err != nil {
		return "", fmt.Errorf("%w: argv0 %w", ErrConfig, err)
	}
	option := findConfig(line)
	if option.text == "" && option.start < option.end {
		return "", fmt.Errorf("%w: no text after --config", ErrConfig)
	}
	keys, err := decodeKeys(option.text)
	if err != nil {
		return "", err
	}
	encoded, err := encodeJSON(encodedConfig{Argv0: name, encodedOutput: output.encoded()})
	if err != nil {
		return "", err
	}
	added, err := decodeKeys(encoded)
	if err != nil {
		return "", err
	}
	maps.Copy(added, keys)
	config, err := encodeJSON(added)
	if err != nil {
		return "", err
	}
	return option.replace(line, config), nil
}

// decodeKeys decodes a configuration in JSON. An empty text is an empty configuration.
func decodeKeys(config string) (map[string]json.RawMessage, error) {
	keys := map[string]json.RawMessage{}
	if config != "" {
		if err := json.Unmarshal([]byte(config), &keys); err != nil {
			return nil, fmt.Errorf("%w: the text after --config: %w", ErrConfig, err)
		}
	}
	return keys, nil
}

// findConfig returns the option --config with its value, or the place for one: before the
// "--", or at the end.
func findConfig(line string) word {
	for at := 0; at < len(line); {
		w := nextWord(line, at)
		value, isOption := strings.CutPrefix(w.text, "--config")
		switch {
		case isOption && strings.HasPrefix(value, "="):
			return word{value[1:], w.start, w.end}
		case isOption:
			config := nextWord(line, w.end)
			return word{config.text, w.start, config.end}
		case strings.HasPrefix(w.text, "--") && !strings.HasPrefix(w.text, "--solo5:"):
			return word{"", w.start, w.start}
		}
		at = w.end
	}
	return word{"", len(line), len(line)}
}

// mergeMounts returns a configuration in JSON with further mounts. An empty text is an
// empty configuration.
func mergeMounts(config string, mounts []Mount) (string, error) {
	keys, err := decodeKeys(config)
	if err != nil {
		return "", err
	}
	var list []any
	for _, m := range mounts {
		list = append(list, encodedMount(m))
	}
	if old, ok := keys["mounts"]; ok {
		var entries []json.RawMessage
		if err := json.Unmarshal(old, &entries); err != nil {
			return "", fmt.Errorf("%w: mounts after --config: %w", ErrConfig, err)
		}
		for _, e := range entries {
			list = append(list, e)
		}
	}
	encoded, err := encodeJSON(list)
	if err != nil {
		return "", err
	}
	keys["mounts"] = json.RawMessage(encoded)
	return encodeJSON(keys)
}

// A word is a word of a command line as the guest reads it.
type word struct {
	text       string
	start, end int // its bytes in the line
}

// replace returns the line with the option --config, which w is, set to a configuration.
func (w word) replace(line, config string) string {
	return line[:w.start] + " --config " + escape(config) + " " + line[w.end:]
}

// nextWord returns the first word from a position on, like words_next of guest/lib. At the
// end of the line the word is empty.
func nextWord(line string, at int) word {
	for at < len(line) && strings.IndexByte(cmdline.WhiteSpace, line[at]) >= 0 {
		at++
	}
	w := word{start: at}
	var text []byte
	quote := byte(0)
	for ; at < len(line) && (quote != 0 || strings.IndexByte(cmdline.WhiteSpace, line[at]) < 0); at++ {
		switch c := line[at]; {
		case c == '\\' && at+1 < len(line):
			at++
			text = append(text, line[at])
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == '"' || c == '\''):
			quote = c
		default:
			text = append(text, c)
		}
	}
	w.text, w.end = string(text), at
	return w
}

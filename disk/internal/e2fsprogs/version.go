// SPDX-License-Identifier: MPL-2.0

package e2fsprogs

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
)

// A Tool is an installed program of e2fsprogs.
type Tool struct {
	Name    string
	Path    string // "" if it is not installed
	Version string // such as "1.47.0"; "" if the tool does not run
	Err     error  // the reason for an empty Path or Version
}

// Tools finds the tools of e2fsprogs and runs each of them, outside of a sandbox, to read
// its version.
func Tools(ctx context.Context) []Tool {
	tools := make([]Tool, 0, len(toolNames))
	for _, name := range toolNames {
		t := Tool{Name: name}
		if t.Path, t.Err = findTool(name); t.Err == nil {
			t.Version, t.Err = readVersion(ctx, t.Path, name)
		}
		tools = append(tools, t)
	}
	return tools
}

// readVersion reads the version that a tool prints. resize2fs has no option for that. It
// prints its version before it fails.
func readVersion(ctx context.Context, path, name string) (string, error) {
	out := &prefixWriter{limit: MaxOutput}
	cmd := exec.CommandContext(ctx, path, "-V")
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = out, out, waitDelay
	err := cmd.Run()
	version := regexp.MustCompile(`(?m)^` + name + ` ([0-9][0-9A-Za-z.~-]*)`).FindSubmatch(out.kept)
	if version != nil {
		return string(version[1]), nil
	}
	if err == nil {
		err = errors.New("it prints no version")
	}
	return "", fmt.Errorf("run %s -V: %w: %s", path, err, strings.ToValidUTF8(strings.TrimSpace(string(out.kept)), "?"))
}

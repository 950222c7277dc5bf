// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
)

// checkModules returns the advisories of Go modules whose code the programs of this
// project call.
func checkModules(govulncheck string) ([]finding, error) {
	if _, err := download(goDatabase); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), transferLimit)
	defer cancel()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, govulncheck, "-format", "json", "./cmd/...")
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		// With this format, findings are no error, but a lost connection is.
		return nil, fmt.Errorf("%s %w by %s: %w: %s", goDatabase, errUnreachable, govulncheck, err, errs.String())
	}
	return calledVulnerabilities(&out)
}

// calledVulnerabilities reads the messages of govulncheck. It reports an advisory
// several times: for the module, the package and the function. Only the last means
// that vulnerable code is called.
func calledVulnerabilities(messages io.Reader) ([]finding, error) {
	var found []finding
	seen := map[string]bool{}
	for decoder := json.NewDecoder(messages); ; {
		var message struct {
			Finding *struct {
				OSV   string
				Trace []struct{ Module, Version, Package, Function string }
			}
		}
		err := decoder.Decode(&message)
		if errors.Is(err, io.EOF) {
			return found, nil
		}
		if err != nil {
			return nil, fmt.Errorf("decode the output of govulncheck: %w", err)
		}
		f := message.Finding
		if f == nil || len(f.Trace) == 0 || f.Trace[0].Function == "" || seen[f.OSV] {
			continue
		}
		seen[f.OSV] = true
		at := f.Trace[0]
		found = append(found, finding{f.OSV, fmt.Sprintf("%s.%s of %s %s is called: see https://pkg.go.dev/vuln/%s",
			at.Package, at.Function, at.Module, at.Version, f.OSV)})
	}
}

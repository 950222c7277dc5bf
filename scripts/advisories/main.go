// SPDX-License-Identifier: MPL-2.0

// Advisories compares this project with two databases of known vulnerabilities:
// the linked Go modules with vuln.go.dev, by govulncheck, and the sources of the
// guests with Debian's security tracker.
//
//	go run ./scripts/advisories GOVULNCHECK
//
// GOVULNCHECK is the path of that program. A database that cannot be reached is
// reported in one line, and is no error. An advisory is an error unless the file
// accepted lists it with a reason.
package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

const (
	goDatabase     = "https://vuln.go.dev/index/db.json"
	debianDatabase = "https://security-tracker.debian.org/tracker/data/json"
	acceptedFile   = "scripts/advisories/accepted"
)

// transferLimit limits the time for reading a database of tens of megabytes.
const transferLimit = 5 * time.Minute

// errUnreachable reports a database that does not answer.
var errUnreachable = errors.New("cannot be reached")

// A finding is an advisory that applies to this project.
type finding struct {
	id   string // such as GO-2025-3595 or CVE-2025-1234
	text string
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: advisories GOVULNCHECK")
		os.Exit(2)
	}
	accepted, err := readAccepted(acceptedFile)
	if err != nil {
		fmt.Fprintln(os.Stderr, "advisories:", err)
		os.Exit(1)
	}
	modules, goErr := checkModules(os.Args[1])
	sources, debianErr := checkSources(os.Stdout)
	if err := report(os.Stdout, accepted, append(modules, sources...), goErr, debianErr); err != nil {
		fmt.Fprintln(os.Stderr, "advisories:", err)
		os.Exit(1)
	}
}

// report prints findings that are not accepted, and databases that cannot be
// reached. It returns an error if there is such a finding, or another error.
func report(w io.Writer, accepted map[string]string, found []finding, errs ...error) error {
	var failures []error
	for _, err := range errs {
		if errors.Is(err, errUnreachable) {
			fmt.Fprintf(w, "advisories: not checked: %v\n", err)
		} else if err != nil {
			failures = append(failures, err)
		}
	}
	open := 0
	for _, f := range found {
		if accepted[f.id] == "" {
			fmt.Fprintf(w, "advisories: %s: %s\n", f.id, f.text)
			open++
		}
	}
	if open > 0 {
		failures = append(failures, fmt.Errorf("%d advisories apply: update, or add them to %s with a reason", open, acceptedFile))
	}
	return errors.Join(failures...)
}

// readAccepted reads lines of the form "ID REASON". Lines that begin with # are
// comments.
func readAccepted(path string) (map[string]string, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	accepted := map[string]string{}
	for line := range strings.Lines(string(content)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		id, reason, _ := strings.Cut(line, " ")
		if reason = strings.TrimSpace(reason); reason == "" {
			return nil, fmt.Errorf("%s: %s has no reason", path, id)
		}
		accepted[id] = reason
	}
	return accepted, nil
}

// download returns the content at a URL. All failures are errUnreachable: those of
// a network say nothing about this project.
func download(url string) ([]byte, error) {
	const (
		patience = 5 * time.Second // for a connection and the beginning of an answer
		maxSize  = 1 << 30
	)
	client := http.Client{Timeout: transferLimit, Transport: &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: patience}).DialContext,
		TLSHandshakeTimeout:   patience,
		ResponseHeaderTimeout: 2 * patience,
	}}
	answer, err := client.Get(url)
	if err != nil {
		return nil, fmt.Errorf("%s %w: %w", url, errUnreachable, err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s %w: %s", url, errUnreachable, answer.Status)
	}
	content, err := io.ReadAll(io.LimitReader(answer.Body, maxSize))
	if err != nil {
		return nil, fmt.Errorf("%s %w: %w", url, errUnreachable, err)
	}
	return content, nil
}

// SPDX-License-Identifier: MPL-2.0

package registry

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
)

// A Request is a line of the registry's request log.
type Request struct {
	Method string
	Path   string // with the query
	Status int
}

// request matches a line in Apache's log format:
//
//	127.0.0.1 - - [27/Nov/2026:19:41:05 +0000] "GET /v2/a/blobs/sha256:… HTTP/1.1" 200 34 "" "agent"
var request = regexp.MustCompile(`"([A-Z]+) (\S+) HTTP/[0-9.]+" ([0-9]{3}) `)

// Requests returns all requests that the registry has answered, in order.
func (r *Registry) Requests() ([]Request, error) {
	log, err := os.ReadFile(r.LogFile())
	if err != nil {
		return nil, fmt.Errorf("read the registry's request log: %w", err)
	}
	return parseRequests(string(log)), nil
}

func parseRequests(log string) []Request {
	var all []Request
	for _, m := range request.FindAllStringSubmatch(log, -1) {
		status, _ := strconv.Atoi(m[3]) // the pattern matches only digits
		all = append(all, Request{Method: m[1], Path: m[2], Status: status})
	}
	return all
}

// Of returns the requests for a repository, such as "team/nginx".
func Of(requests []Request, repository string) []Request {
	return filter(requests, func(r Request) bool { return strings.HasPrefix(r.Path, "/v2/"+repository+"/") })
}

// Blobs returns the successful downloads of blobs.
func Blobs(requests []Request) []Request {
	return filter(requests, func(r Request) bool {
		return r.Method == "GET" && r.Status == 200 && strings.Contains(r.Path, "/blobs/sha256:")
	})
}

// Manifests returns the requests for manifests, HEAD and GET, with any answer.
func Manifests(requests []Request) []Request {
	return filter(requests, func(r Request) bool {
		return (r.Method == "GET" || r.Method == "HEAD") && strings.Contains(r.Path, "/manifests/")
	})
}

func filter(requests []Request, keep func(Request) bool) []Request {
	var kept []Request
	for _, r := range requests {
		if keep(r) {
			kept = append(kept, r)
		}
	}
	return kept
}

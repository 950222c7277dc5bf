// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"crypto/rand"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/hashicorp/nomad/plugins/drivers"

	"github.com/lkl-nomad/nomad-driver-lkl/disk"
)

// seedPath is where a guest finds random bytes of the host's to start its
// generator from: a Solo5 guest has no other source.
const (
	seedPath = "/etc/random-seed"
	seedSize = 512 // bytes, as much as Linux's own pool takes
)

// rootFiles are the files of this task that go into its private root disk.
func rootFiles(task *drivers.TaskConfig, a addresses, skip []*source) ([]disk.File, error) {
	host := hostname(task)
	resolv, err := resolvConf(task.DNS)
	if err != nil {
		return nil, err
	}
	seed := make([]byte, seedSize)
	if _, err := rand.Read(seed); err != nil {
		return nil, fmt.Errorf("make an entropy seed: %w", err)
	}
	files := []disk.File{
		{Path: "/etc/hostname", Mode: 0o644, Content: []byte(host + "\n")},
		{Path: "/etc/hosts", Mode: 0o644, Content: []byte(hosts(host, a))},
		{Path: "/etc/resolv.conf", Mode: 0o644, Content: resolv},
		{Path: seedPath, Mode: 0o600, Content: seed},
	}
	trees, err := taskFiles(task, skip)
	return append(files, trees...), err
}

// taskFiles are the task's directories as they are now: local/ and secrets/,
// and alloc/ but for its logs. What the disk is made from is left out.
func taskFiles(task *drivers.TaskConfig, skip []*source) ([]disk.File, error) {
	dir := task.TaskDir()
	var files []disk.File
	for _, tree := range []struct{ host, name, guest string }{
		{dir.LocalDir, ".", "/local"},
		{dir.SecretsDir, ".", "/secrets"},
		// By their names in it, since a task that is root in its container may have
		// made a symbolic link of them.
		{dir.SharedAllocDir, "data", "/alloc"},
		{dir.SharedAllocDir, "tmp", "/alloc"},
	} {
		host := filepath.Join(tree.host, tree.name)
		if _, err := os.Lstat(host); err != nil {
			continue // Nomad makes all of them; a bare task directory lacks some
		}
		if isOne(host, skip) {
			files = append(files, disk.File{Path: path.Join(tree.guest, tree.name), Mode: fs.ModeDir | 0o755})
			continue
		}
		found, err := disk.Tree(tree.host, tree.name, tree.guest, func(name string) bool {
			return isOne(filepath.Join(tree.host, name), skip)
		})
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", host, err)
		}
		files = append(files, found...)
	}
	uid, gid, err := parseUser(task.User)
	if err != nil {
		return nil, fmt.Errorf("user: %w", err)
	}
	for i := range files {
		files[i].UID, files[i].GID = int(uid), int(gid)
		if files[i].Path == "/secrets" || strings.HasPrefix(files[i].Path, "/secrets/") {
			files[i].Mode = secretMode(files[i].Mode)
		}
	}
	return files, nil
}

// secretMode takes a file's permissions from everybody but its owner.
func secretMode(mode fs.FileMode) fs.FileMode {
	switch {
	case mode.IsDir():
		return fs.ModeDir | 0o700
	case mode.IsRegular():
		return 0o600
	}
	return mode
}

// isOne tells whether a path is one of the open files.
func isOne(path string, sources []*source) bool {
	info, err := os.Lstat(path)
	if err != nil {
		return false
	}
	for _, s := range sources {
		if s != nil && os.SameFile(info, s.info) {
			return true
		}
	}
	return false
}

// hostname is the guest's: what the group's network names, else the task and
// the alloc, as far as a label of DNS can hold it (RFC 1035: 63 bytes).
func hostname(task *drivers.TaskConfig) string {
	if n := task.NetworkIsolation; n != nil && n.HostsConfig != nil && n.HostsConfig.Hostname != "" {
		return n.HostsConfig.Hostname
	}
	const most, short = 63, 8
	alloc := task.AllocID[:min(short, len(task.AllocID))]
	label := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '-':
			return r
		case r >= 'A' && r <= 'Z':
			return r - 'A' + 'a'
		}
		return '-'
	}, task.Name)
	label = label[:min(most-short-1, len(label))]
	return strings.Trim(label+"-"+alloc, "-")
}

func hosts(host string, a addresses) string {
	text := "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n"
	own := a.ip()
	if own == "" {
		own = "127.0.1.1"
	}
	return text + own + " " + host + "\n"
}

// hostResolvConfs are the host's, the first whose servers a guest can reach:
// systemd-resolved puts one on the loopback into the first, and what it asks
// itself into the second.
var hostResolvConfs = []string{"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"}

// resolvConf is the job's DNS configuration, or the host's without the servers
// on the host's loopback, which is not the guest's.
func resolvConf(dns *drivers.DNSConfig) ([]byte, error) {
	if dns != nil {
		return []byte(resolvText(dns)), nil
	}
	var text string
	for _, path := range hostResolvConfs {
		content, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		kept, found := withoutLoopback(string(content))
		text = kept
		if found {
			break
		}
	}
	return []byte(text), nil
}

func resolvText(dns *drivers.DNSConfig) string {
	var b strings.Builder
	for _, s := range dns.Servers {
		b.WriteString("nameserver " + s + "\n")
	}
	if len(dns.Searches) > 0 {
		b.WriteString("search " + strings.Join(dns.Searches, " ") + "\n")
	}
	if len(dns.Options) > 0 {
		b.WriteString("options " + strings.Join(dns.Options, " ") + "\n")
	}
	return b.String()
}

// withoutLoopback drops the servers that a guest cannot reach, and tells
// whether any other is left.
func withoutLoopback(text string) (string, bool) {
	var kept strings.Builder
	found := false
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 2 && fields[0] == "nameserver" {
			if addr, err := netip.ParseAddr(fields[1]); err == nil && addr.IsLoopback() {
				continue
			}
			found = true
		}
		kept.WriteString(line)
	}
	return kept.String(), found
}

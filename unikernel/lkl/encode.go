// SPDX-License-Identifier: MPL-2.0

package lkl

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
)

// Encode validates the configuration and returns it as JSON for a guest with these
// features. The order of the keys is fixed. Its errors wrap ErrConfig.
func (c Config) Encode(features unikernel.Features) (string, error) {
	if err := c.Validate(features); err != nil {
		return "", err
	}
	return c.encode()
}

// The encoded types have the guest's keys. Every value is a JSON string.

type encodedConfig struct {
	Interfaces  []encodedInterface `json:"interfaces,omitempty"`
	Routes      []encodedRoute     `json:"routes,omitempty"`
	Disks       []encodedDisk      `json:"disks,omitempty"`
	Mounts      []encodedMount     `json:"mounts,omitempty"`
	Neighbors   encodedNeighbors   `json:"neighbors,omitzero"`
	Gateway     netip.Addr         `json:"gateway,omitzero"`
	Gateway6    netip.Addr         `json:"gateway6,omitzero"`
	Sysctl      string             `json:"sysctl,omitempty"`
	Debug       encodedBool        `json:"debug,omitempty"`
	Root        string             `json:"root,omitempty"`
	RootOptions string             `json:"root_options,omitempty"`
	Hostname    string             `json:"hostname,omitempty"`
	Entropy     string             `json:"entropy,omitempty"`
	WorkDir     string             `json:"workdir,omitempty"`
	UID         uint32             `json:"uid,omitempty,string"`
	GID         uint32             `json:"gid,omitempty,string"`
	Stack       uint64             `json:"stack,omitempty,string"`
	FSGSBase    encodedBool        `json:"fsgsbase,omitempty"`
	Argv0       string             `json:"argv0,omitempty"`
	encodedOutput
}

type encodedOutput struct {
	Stderr    encodedBool `json:"stderr,omitempty"`
	StdoutTTY encodedBool `json:"stdout_tty,omitempty"`
	StderrTTY encodedBool `json:"stderr_tty,omitempty"`
}

type encodedInterface struct {
	Type       string      `json:"type"`
	Name       string      `json:"name"`
	Rename     string      `json:"rename,omitempty"`
	IP         netip.Addr  `json:"ip,omitzero"`
	MaskLen    int         `json:"masklen,omitempty,string"`
	IPv6       netip.Addr  `json:"ipv6,omitzero"`
	MaskLen6   int         `json:"masklen6,omitempty,string"`
	MAC        string      `json:"mac,omitempty"`
	MTU        int         `json:"mtu,omitempty,string"`
	IfGateway  netip.Addr  `json:"ifgateway,omitzero"`
	IfGateway6 netip.Addr  `json:"ifgateway6,omitzero"`
	Offload    encodedBool `json:"offload,omitempty"`
}

type encodedRoute struct {
	Interface string       `json:"interface,omitempty"`
	To        netip.Prefix `json:"to"`
	Via       netip.Addr   `json:"via,omitzero"`
}

type encodedNeighbors struct {
	Loopback  netip.Addr `json:"loopback,omitzero"`
	Loopback6 netip.Addr `json:"loopback6,omitzero"`
	Address   netip.Addr `json:"address,omitzero"`
	Address6  netip.Addr `json:"address6,omitzero"`
}

type encodedDisk struct {
	Name     string      `json:"name"`
	Transfer uint32      `json:"transfer,omitempty,string"`
	Flush    encodedBool `json:"flush,omitempty"`
}

type encodedMount struct {
	Device  string `json:"device"`
	Path    string `json:"path"`
	Type    string `json:"type,omitempty"`
	Options string `json:"options,omitempty"`
}

// An encodedBool is "1" if true. Fields of this type omit false.
type encodedBool bool

// MarshalJSON implements json.Marshaler.
func (encodedBool) MarshalJSON() ([]byte, error) { return []byte(`"1"`), nil }

// encode returns the configuration without validation.
func (c Config) encode() (string, error) {
	e := encodedConfig{
		Neighbors: encodedNeighbors(c.Neighbors), Gateway: c.Gateway, Gateway6: c.Gateway6, Sysctl: c.sysctlText(), Debug: encodedBool(c.KernelLog),
		Root: c.Root, RootOptions: c.RootOptions, Hostname: c.Hostname, Entropy: hex.EncodeToString(c.Entropy), FSGSBase: encodedBool(c.FSGSBase),
		WorkDir: c.Program.Directory, UID: c.Program.UID, GID: c.Program.GID, Stack: c.Program.Stack,
		Argv0:         c.Program.Name,
		encodedOutput: c.Output.encoded(),
	}
	for _, n := range c.Interfaces {
		e.Interfaces = append(e.Interfaces, encodedInterface{
			Type: "rumpfd", Name: n.Name, Rename: n.Rename,
			IP: n.Address.Addr(), MaskLen: max(n.Address.Bits(), 0), // Bits is -1 without an address
			IPv6: n.Address6.Addr(), MaskLen6: max(n.Address6.Bits(), 0),
			MAC: n.MAC.String(), MTU: n.MTU, IfGateway: n.Gateway, IfGateway6: n.Gateway6, Offload: encodedBool(n.Offload),
		})
	}
	for _, r := range c.Routes {
		e.Routes = append(e.Routes, encodedRoute(r))
	}
	for _, d := range c.Disks {
		e.Disks = append(e.Disks, encodedDisk{d.Name, d.Transfer, encodedBool(d.Flush)})
	}
	for _, m := range c.Mounts {
		e.Mounts = append(e.Mounts, encodedMount(m))
	}
	return encodeJSON(e)
}

func (o Output) encoded() encodedOutput {
	return encodedOutput{encodedBool(o.Stderr), encodedBool(o.StdoutTTY), encodedBool(o.StderrTTY)}
}

func encodeJSON(v any) (string, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return "", fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return strings.TrimSuffix(b.String(), "\n"), nil
}

// SysctlLength returns the length of all sysctl settings, in bytes. See MaxLegacySysctl.
func (c Config) SysctlLength() int { return len(c.sysctlText()) }

func (c Config) sysctlText() string {
	var settings []string
	for _, name := range slices.Sorted(maps.Keys(c.Sysctl)) {
		settings = append(settings, name+"="+c.Sysctl[name])
	}
	return strings.Join(settings, ";")
}

// tokens returns the number of tokens that the parser of a legacy guest finds
// in an encoded configuration: each object, list, key and value is one.
func tokens(encoded string) (int, error) {
	decoder := json.NewDecoder(strings.NewReader(encoded))
	n := 0
	for {
		token, err := decoder.Token()
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return 0, fmt.Errorf("%w: %w", ErrConfig, err)
		}
		if token != json.Delim('}') && token != json.Delim(']') {
			n++
		}
	}
}

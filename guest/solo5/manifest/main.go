// SPDX-License-Identifier: MPL-2.0

// Manifest reads a unikernel's manifest in Solo5's JSON format and writes its ELF
// note as assembly:
//
//	manifest manifest.json > manifest.S
//
// With "-" it reads standard input.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/problems"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel/solo5elf"
)

// deviceTypes maps Solo5's names of the device types.
var deviceTypes = map[string]unikernel.DeviceType{
	"BLOCK_BASIC": unikernel.Block,
	"NET_BASIC":   unikernel.Net,
}

// A document is a manifest in JSON.
type document struct {
	Type    string   `json:"type"`
	Version int      `json:"version"`
	Devices []device `json:"devices"`
}

type device struct {
	Name string `json:"name"`
	Type string `json:"type"`
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: manifest MANIFEST.json > MANIFEST.S")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "manifest:", err)
		os.Exit(1)
	}
}

func run(path string, w io.Writer) error {
	text, err := read(path)
	if err != nil {
		return err
	}
	doc, err := parse(text)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	_, err = w.Write(assemble(doc.Devices))
	return err
}

func read(path string) ([]byte, error) {
	if path == "-" {
		return io.ReadAll(os.Stdin)
	}
	return os.ReadFile(path)
}

// parse decodes and checks a manifest. Its error lists every mistake.
func parse(text []byte) (document, error) {
	var doc document
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&doc); err != nil {
		return doc, err
	}
	if d.More() {
		return doc, errors.New("unexpected data after the manifest's object")
	}
	return doc, doc.check()
}

func (doc document) check() error {
	var list problems.List
	if doc.Type != "solo5.manifest" {
		list.Addf("type", "%q must be \"solo5.manifest\"", doc.Type)
	}
	if doc.Version != solo5elf.ManifestVersion {
		list.Addf("version", "%d must be %d", doc.Version, solo5elf.ManifestVersion)
	}
	if len(doc.Devices) > unikernel.MaxDevices {
		list.Addf("devices", "%d devices, must be at most %d", len(doc.Devices), unikernel.MaxDevices)
	}
	types := strings.Join(slices.Sorted(maps.Keys(deviceTypes)), " or ")
	seen := map[string]bool{}
	for _, d := range doc.Devices {
		field := fmt.Sprintf("device %q", d.Name)
		if !unikernel.ValidDeviceName(d.Name) {
			list.Addf(field, "the name must be 1 to %d letters and digits", unikernel.MaxDeviceName)
		}
		if seen[d.Name] {
			list.Addf(field, "duplicate device name")
		}
		seen[d.Name] = true
		if deviceTypes[d.Type] == 0 {
			list.Addf(field, "unknown type %q: must be %s", d.Type, types)
		}
	}
	return list.Err()
}

// assemble returns assembly source that puts the note into a section.
func assemble(devices []device) []byte {
	entries := make([]solo5elf.Entry, len(devices))
	for i, d := range devices {
		entries[i] = solo5elf.NewEntry(d.Name, uint32(deviceTypes[d.Type]))
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "\t.section .note.solo5.manifest, \"a\", @note\n")
	fmt.Fprintf(&b, "\t.balign 8\n")
	note := solo5elf.ManifestNote(solo5elf.ManifestHeader{}, entries)
	for line := range slices.Chunk(note, 16) {
		fmt.Fprintf(&b, "\t.byte %d", line[0])
		for _, c := range line[1:] {
			fmt.Fprintf(&b, ", %d", c)
		}
		fmt.Fprintln(&b)
	}
	fmt.Fprintf(&b, "\t.section .note.GNU-stack, \"\", @progbits\n")
	return b.Bytes()
}

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
	"os"
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
			list.Addf(field, "unknown type %q", d.Type)
		}
	}
	return list.Err()
}

// assemble writes the note: its header, padding to a multiple of 8, and the
// manifest. The descriptor's size includes the padding.
func assemble(devices []device) []byte {
	var b bytes.Buffer
	entries := len(devices) + 1
	size := solo5elf.ManifestPadding + solo5elf.ManifestHeaderSize + entries*solo5elf.EntrySize
	fmt.Fprintf(&b, "\t.section .note.solo5.manifest, \"a\", @note\n")
	fmt.Fprintf(&b, "\t.balign 8\n")
	fmt.Fprintf(&b, "\t.long %d, %d, %#x\n", len(solo5elf.Owner), size, solo5elf.NoteManifest)
	fmt.Fprintf(&b, "\t.asciz \"%s\"\n\t.balign 8\n", strings.TrimSuffix(solo5elf.Owner, "\x00"))
	fmt.Fprintf(&b, "\t.long %d, %d\n", solo5elf.ManifestVersion, entries)
	entry(&b, "", solo5elf.TypeReserved)
	for _, d := range devices {
		entry(&b, d.Name, uint32(deviceTypes[d.Type]))
	}
	fmt.Fprintf(&b, "\t.section .note.GNU-stack, \"\", @progbits\n")
	return b.Bytes()
}

// entry writes one entry. The tender fills in the fields after name and type.
func entry(b *bytes.Buffer, name string, typ uint32) {
	const typeSize = 4
	fmt.Fprintf(b, "\t.ascii \"%s\"\n\t.skip %d\n", name, solo5elf.NameSize-len(name))
	fmt.Fprintf(b, "\t.long %d\n\t.skip %d\n", typ, solo5elf.EntrySize-solo5elf.NameSize-typeSize)
}

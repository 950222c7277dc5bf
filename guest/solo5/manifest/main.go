// SPDX-License-Identifier: MPL-2.0

// Manifest turns a unikernel's manifest, Solo5's JSON, into the assembly of its
// ELF note:
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
)

// Limits of the note: Solo5's manifest, version 1. Entry 0 is reserved.
const (
	version    = 1
	maxDevices = 63
	maxName    = 67
	nameSize   = 68
	entrySize  = 104

	reservedFirst = 1 << 30
)

// Types of device, by their name in JSON.
var types = map[string]uint32{
	"BLOCK_BASIC": 1,
	"NET_BASIC":   2,
}

// A document is the JSON of a manifest.
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

// parse reads and checks a manifest; every mistake found is in the error.
func parse(text []byte) (document, error) {
	var doc document
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&doc); err != nil {
		return doc, err
	}
	if d.More() {
		return doc, errors.New("something follows the manifest's object")
	}
	return doc, doc.check()
}

func (doc document) check() error {
	var errs []error
	if doc.Type != "solo5.manifest" {
		errs = append(errs, fmt.Errorf("type is %q, not \"solo5.manifest\"", doc.Type))
	}
	if doc.Version != version {
		errs = append(errs, fmt.Errorf("version is %d, not %d", doc.Version, version))
	}
	if len(doc.Devices) > maxDevices {
		errs = append(errs, fmt.Errorf("%d devices, more than %d", len(doc.Devices), maxDevices))
	}
	seen := map[string]bool{}
	for _, d := range doc.Devices {
		if !validName(d.Name) {
			errs = append(errs, fmt.Errorf("device name %q is not 1 to %d letters and digits", d.Name, maxName))
		}
		if seen[d.Name] {
			errs = append(errs, fmt.Errorf("device name %q is there twice", d.Name))
		}
		seen[d.Name] = true
		if types[d.Type] == 0 {
			errs = append(errs, fmt.Errorf("device %q: unknown type %q", d.Name, d.Type))
		}
	}
	return errors.Join(errs...)
}

func validName(name string) bool {
	if name == "" || len(name) > maxName {
		return false
	}
	for _, c := range []byte(name) {
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return true
}

// assemble writes the note: its header, padding up to a multiple of 8 (which
// the descriptor's size counts), the manifest.
func assemble(devices []device) []byte {
	var b bytes.Buffer
	entries := len(devices) + 1
	fmt.Fprintf(&b, "\t.section .note.solo5.manifest, \"a\", @note\n")
	fmt.Fprintf(&b, "\t.balign 8\n")
	fmt.Fprintf(&b, "\t.long 6, %d, 0x3154464d\n", 4+8+entries*entrySize)
	fmt.Fprintf(&b, "\t.asciz \"Solo5\"\n\t.balign 8\n")
	fmt.Fprintf(&b, "\t.long %d, %d\n", version, entries)
	entry(&b, "", reservedFirst)
	for _, d := range devices {
		entry(&b, d.Name, types[d.Type])
	}
	fmt.Fprintf(&b, "\t.section .note.GNU-stack, \"\", @progbits\n")
	return b.Bytes()
}

// entry writes one entry; what follows name and type is for the tender to fill.
func entry(b *bytes.Buffer, name string, typ uint32) {
	fmt.Fprintf(b, "\t.ascii \"%s\"\n\t.skip %d\n", name, nameSize-len(name))
	fmt.Fprintf(b, "\t.long %d\n\t.skip %d\n", typ, entrySize-nameSize-4)
}

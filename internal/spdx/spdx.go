// SPDX-License-Identifier: MPL-2.0

// Package spdx writes lists of the software in a unikernel (SBOM) in the format SPDX 2.3,
// see https://spdx.github.io/spdx-spec/v2.3/.
package spdx

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// Values that the format defines.
const (
	version     = "SPDX-2.3"
	dataLicense = "CC0-1.0"
	documentID  = "SPDXRef-DOCUMENT"
	noAssertion = "NOASSERTION"
)

// namespace is the beginning of the unique URI of each document.
const namespace = "https://github.com/lkl-nomad/nomad-driver-lkl/spdx/"

// A File is a described file: a kernel.
type File struct {
	Name    string
	SHA256  string // in hexadecimal
	Version string // may be empty
}

// A Contents describes files with the same contents, such as the kernels of one program for
// several targets.
type Contents struct {
	Name     string
	Files    []File
	Packages []Package // that the files were made from
	Created  time.Time
}

// A Package is software that the file contains.
type Package struct {
	Name, Version string
	// PURL identifies the package, such as pkg:deb/debian/zlib@1.2.13?arch=source. It may
	// be empty.
	PURL string
	// License is an SPDX license expression, or empty if it is unknown.
	License string
	// Supplier is "Organization: Debian" or the like, or empty.
	Supplier string
	// Purpose is the SPDX purpose, such as SOURCE, or empty.
	Purpose string
}

type document struct {
	Version       string         `json:"spdxVersion"`
	DataLicense   string         `json:"dataLicense"`
	ID            string         `json:"SPDXID"`
	Name          string         `json:"name"`
	Namespace     string         `json:"documentNamespace"`
	Creation      creation       `json:"creationInfo"`
	Packages      []element      `json:"packages"`
	Relationships []relationship `json:"relationships"`
}

type creation struct {
	Created  string   `json:"created"`
	Creators []string `json:"creators"`
}

// element is a package of the format.
type element struct {
	ID               string      `json:"SPDXID"`
	Name             string      `json:"name"`
	Version          string      `json:"versionInfo,omitempty"`
	FileName         string      `json:"packageFileName,omitempty"`
	Supplier         string      `json:"supplier,omitempty"`
	DownloadLocation string      `json:"downloadLocation"`
	FilesAnalyzed    bool        `json:"filesAnalyzed"`
	LicenseConcluded string      `json:"licenseConcluded"`
	LicenseDeclared  string      `json:"licenseDeclared"`
	Copyright        string      `json:"copyrightText"`
	Purpose          string      `json:"primaryPackagePurpose,omitempty"`
	Checksums        []checksum  `json:"checksums,omitempty"`
	References       []reference `json:"externalRefs,omitempty"`
}

type checksum struct {
	Algorithm string `json:"algorithm"`
	Value     string `json:"checksumValue"`
}

type reference struct {
	Category string `json:"referenceCategory"`
	Type     string `json:"referenceType"`
	Locator  string `json:"referenceLocator"`
}

type relationship struct {
	Element string `json:"spdxElementId"`
	Type    string `json:"relationshipType"`
	Related string `json:"relatedSpdxElement"`
}

// Marshal returns the document in JSON. The same contents give the same bytes.
func (c *Contents) Marshal() ([]byte, error) {
	d := document{
		Version: version, DataLicense: dataLicense, ID: documentID, Name: c.Name,
		Creation: creation{
			Created:  c.Created.UTC().Format("2006-01-02T15:04:05Z"),
			Creators: []string{"Tool: nomad-driver-lkl"},
		},
	}
	for _, f := range c.Files {
		e := f.element()
		d.Packages = append(d.Packages, e)
		d.Relationships = append(d.Relationships, relationship{documentID, "DESCRIBES", e.ID})
	}
	described := d.Packages
	for i, p := range c.Packages {
		e := p.element(i)
		d.Packages = append(d.Packages, e)
		for _, kernel := range described {
			d.Relationships = append(d.Relationships, relationship{kernel.ID, "GENERATED_FROM", e.ID})
		}
	}
	unnamed, err := json.Marshal(d)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(unnamed)
	d.Namespace = namespace + fileID(c.Name) + "-" + hex.EncodeToString(sum[:16])
	content, err := json.MarshalIndent(d, "", "  ")
	return append(content, '\n'), err
}

func (f File) element() element {
	return element{
		ID: "SPDXRef-Kernel-" + fileID(f.Name), Name: f.Name, FileName: f.Name, Version: f.Version,
		DownloadLocation: noAssertion, LicenseConcluded: noAssertion, LicenseDeclared: noAssertion, Copyright: noAssertion,
		Purpose: "APPLICATION", Checksums: []checksum{{"SHA256", f.SHA256}},
	}
}

func (p Package) element(i int) element {
	e := element{
		ID: fmt.Sprintf("SPDXRef-Package-%d-%s", i+1, fileID(p.Name)), Name: p.Name, Version: p.Version, Supplier: p.Supplier,
		DownloadLocation: noAssertion, LicenseConcluded: noAssertion, LicenseDeclared: noAssertion, Copyright: noAssertion,
		Purpose: p.Purpose,
	}
	if p.License != "" {
		e.LicenseDeclared = p.License
	}
	if p.PURL != "" {
		e.References = []reference{{"PACKAGE-MANAGER", "purl", p.PURL}}
	}
	return e
}

var invalidInID = regexp.MustCompile(`[^A-Za-z0-9.-]`)

// fileID returns a name as a part of an identifier, which permits few characters.
func fileID(name string) string { return invalidInID.ReplaceAllString(name, "-") }

// Check returns an error for a document that is not SPDX 2 in JSON.
func Check(content []byte) error {
	var d document
	if err := json.Unmarshal(content, &d); err != nil {
		return fmt.Errorf("not an SPDX document in JSON: %w", err)
	}
	if !strings.HasPrefix(d.Version, "SPDX-2.") {
		return fmt.Errorf("the member spdxVersion is %q: it must be SPDX-2.3", d.Version)
	}
	if d.ID != documentID || d.Name == "" || d.Namespace == "" {
		return errors.New("the SPDX document has no SPDXID, name or documentNamespace")
	}
	return nil
}

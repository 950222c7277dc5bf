// SPDX-License-Identifier: MPL-2.0

package spdx

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/shoenig/test/must"
)

var (
	files = []File{
		{Name: "lkl-app.spt", Version: "1:2.0~rc1", SHA256: strings.Repeat("ab", 32)},
		{Name: "lkl-app.hvt", SHA256: strings.Repeat("ef", 32)},
	}
	packages = []Package{
		{
			Name: "app", Version: "1:2.0~rc1", PURL: "pkg:deb/debian/app@1%3A2.0~rc1?arch=source", License: "MIT",
			Supplier: "Organization: Debian", Purpose: "SOURCE",
		},
		{Name: "lib c++"},
	}
)

// The schema of SPDX 2.3 (spdx-schema.json) requires these members.
func TestMarshal_HasTheRequiredMembers(t *testing.T) {
	content := marshal(t, files...)
	var d map[string]any
	must.NoError(t, json.Unmarshal(content, &d))
	must.Eq(t, "SPDX-2.3", d["spdxVersion"].(string))
	must.Eq(t, "CC0-1.0", d["dataLicense"].(string))
	must.Eq(t, "SPDXRef-DOCUMENT", d["SPDXID"].(string))
	must.Eq(t, "lkl-app", d["name"].(string))
	must.RegexMatch(t, regexp.MustCompile(`^https://[^#\s]+$`), d["documentNamespace"].(string))
	must.Eq(t, map[string]any{"created": "1970-01-01T00:00:00Z", "creators": []any{"Tool: nomad-driver-lkl"}},
		d["creationInfo"].(map[string]any))

	ids := map[string]bool{"SPDXRef-DOCUMENT": true}
	for _, p := range d["packages"].([]any) {
		p := p.(map[string]any)
		id := p["SPDXID"].(string)
		must.RegexMatch(t, regexp.MustCompile(`^SPDXRef-[A-Za-z0-9.-]+$`), id)
		must.False(t, ids[id], must.Sprint("identifiers are unique"))
		ids[id] = true
		for _, member := range []string{"name", "downloadLocation", "licenseConcluded", "licenseDeclared", "copyrightText"} {
			must.NotEq(t, "", p[member].(string))
		}
		must.False(t, p["filesAnalyzed"].(bool))
	}
	must.MapLen(t, 5, ids)
	for _, r := range d["relationships"].([]any) {
		r := r.(map[string]any)
		must.True(t, ids[r["spdxElementId"].(string)])
		must.True(t, ids[r["relatedSpdxElement"].(string)])
		must.SliceContains(t, []string{"DESCRIBES", "GENERATED_FROM"}, r["relationshipType"].(string))
	}
	must.NoError(t, Check(content))
}

func marshal(t *testing.T, files ...File) []byte {
	t.Helper()
	c := Contents{Name: "lkl-app", Files: files, Packages: packages, Created: time.Unix(0, 0)}
	content, err := c.Marshal()
	must.NoError(t, err)
	return content
}

func TestMarshal_DependsOnTheContentsOnly(t *testing.T) {
	must.Eq(t, string(marshal(t, files...)), string(marshal(t, files...)))
	namespaceOf := func(content []byte) string {
		var d document
		must.NoError(t, json.Unmarshal(content, &d))
		return d.Namespace
	}
	must.NotEq(t, namespaceOf(marshal(t, files[0])), namespaceOf(marshal(t, files[1])))
}

func TestCheck_RefusesOtherDocuments(t *testing.T) {
	for _, content := range []string{"", "text", "[]", "{}", `{"bomFormat":"CycloneDX"}`, `{"spdxVersion":"SPDX-2.3"}`} {
		must.Error(t, Check([]byte(content)), must.Sprint(content))
	}
}

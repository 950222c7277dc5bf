// SPDX-License-Identifier: MPL-2.0

package source

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/shoenig/test/must"
)

func describe(content string) v1.Descriptor {
	sum := sha256.Sum256([]byte(content))
	return v1.Descriptor{
		Size:   int64(len(content)),
		Digest: v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum[:])},
	}
}

func TestVerify_ReturnsMatchingContent(t *testing.T) {
	for _, content := range []string{"", "x", strings.Repeat("content", 10_000)} {
		for _, r := range []io.Reader{
			strings.NewReader(content),
			iotest.DataErrReader(strings.NewReader(content)),
			iotest.OneByteReader(strings.NewReader(content)),
		} {
			verified, err := Verify(io.NopCloser(r), describe(content))
			must.NoError(t, err)
			got, err := io.ReadAll(verified)
			must.NoError(t, err)
			must.Eq(t, content, string(got))
		}
	}
}

func TestVerify_RefusesOtherContent(t *testing.T) {
	for name, content := range map[string]string{
		"other bytes": "Content", "shorter": "conten", "longer": "content and more", "empty": "",
	} {
		t.Run(name, func(t *testing.T) {
			verified, err := Verify(io.NopCloser(strings.NewReader(content)), describe("content"))
			must.NoError(t, err)
			got, err := io.ReadAll(verified)
			must.ErrorIs(t, err, ErrInvalid)
			must.LessEq(t, len("content"), len(got))
			_, err = verified.Read(make([]byte, 1))
			must.ErrorIs(t, err, ErrInvalid, must.Sprint("the error stays"))
		})
	}
}

func TestVerify_ReturnsReadErrors(t *testing.T) {
	verified, err := Verify(io.NopCloser(iotest.TimeoutReader(iotest.OneByteReader(strings.NewReader("content")))), describe("content"))
	must.NoError(t, err)
	_, err = io.ReadAll(verified)
	must.ErrorIs(t, err, iotest.ErrTimeout)
	must.NotEq(t, true, strings.Contains(err.Error(), "invalid"))
}

func TestCheckDescriptor_RefusesOtherDigests(t *testing.T) {
	valid := describe("content")
	must.NoError(t, CheckDescriptor(valid))
	for name, change := range map[string]func(*v1.Descriptor){
		"negative size":   func(d *v1.Descriptor) { d.Size = -1 },
		"other algorithm": func(d *v1.Descriptor) { d.Digest.Algorithm = "sha512" },
		"path":            func(d *v1.Descriptor) { d.Digest.Hex = "../../etc/passwd" },
		"too short":       func(d *v1.Descriptor) { d.Digest.Hex = "ab" },
		"upper case":      func(d *v1.Descriptor) { d.Digest.Hex = strings.ToUpper(d.Digest.Hex) },
		"missing":         func(d *v1.Descriptor) { d.Digest = v1.Hash{} },
	} {
		t.Run(name, func(t *testing.T) {
			d := valid
			change(&d)
			must.ErrorIs(t, CheckDescriptor(d), ErrInvalid)
		})
	}
}

func TestReadManifest_RefusesLargeOnes(t *testing.T) {
	d := describe("content")
	d.Size = MaxManifestSize + 1
	_, err := ReadManifest(strings.NewReader("content"), d)
	must.ErrorIs(t, err, ErrInvalid)
}

// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shoenig/test"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
)

func TestParse_ReportsEveryMistake(t *testing.T) {
	long := strings.Repeat("n", unikernel.MaxDeviceName+1)
	_, err := parse([]byte(`{"type":"x","version":2,"devices":[
		{"name":"a","type":"NET_BASIC"},{"name":"a","type":"BLOCK_BASIC"},
		{"name":"","type":"NET_BASIC"},{"name":"a-b","type":"NET_BASIC"},
		{"name":"` + long + `","type":"NET_BASIC"},{"name":"c","type":"USB"}]}`))
	must.Error(t, err)
	for _, says := range []string{
		`type: "x"`, "version: 2", `"a": duplicate device name`, `device "": the name`,
		`device "a-b": the name`, `device "` + long, `"c": unknown type "USB": must be BLOCK_BASIC or NET_BASIC`,
	} {
		test.StrContains(t, err.Error(), says)
	}
}

func TestParse_RejectsInvalidManifests(t *testing.T) {
	const good = `{"type":"solo5.manifest","version":1,"devices":[]}`
	_, err := parse([]byte(good))
	must.NoError(t, err)
	many := strings.Repeat(`{"name":"a","type":"NET_BASIC"},`, unikernel.MaxDevices) + `{"name":"a","type":"NET_BASIC"}`
	for _, text := range []string{
		"", "[]", good + "x", strings.Replace(good, "type", "kind", 1),
		strings.Replace(good, "[]", "["+many+"]", 1),
	} {
		_, err := parse([]byte(text))
		test.Error(t, err, test.Sprint(text))
	}
}

// The offsets here are independent of package solo5elf.
func TestAssemble_HasTheLayoutOfSolo5(t *testing.T) {
	testenv.Need(t, testenv.Tool("gcc"))
	object := filepath.Join(t.TempDir(), "manifest.o")
	cmd := exec.Command("gcc", "-c", "-x", "assembler", "-o", object, "-")
	cmd.Stdin = bytes.NewReader(assemble([]device{{"rootfs", "BLOCK_BASIC"}, {"tap", "NET_BASIC"}}))
	out, err := cmd.CombinedOutput()
	must.NoError(t, err, must.Sprintf("%s", out))

	f, err := elf.Open(object)
	must.NoError(t, err)
	t.Cleanup(func() { _ = f.Close() })
	section := f.Section(".note.solo5.manifest")
	must.NotNil(t, section)
	must.Eq(t, elf.SHT_NOTE, section.Type)
	must.Eq(t, 8, section.Addralign)
	note, err := section.Data()
	must.NoError(t, err)

	u32 := binary.LittleEndian.Uint32
	must.Len(t, 24+8+3*104, note)
	test.Eq(t, 6, u32(note))
	test.Eq(t, uint32(len(note)-20), u32(note[4:]))
	test.Eq(t, "MFT1Solo5\x00", string(note[8:18]))
	manifest := note[24:]
	test.Eq(t, 1, u32(manifest))
	test.Eq(t, 3, u32(manifest[4:]))
	for i, want := range []struct {
		name string
		typ  uint32
	}{{"", 1 << 30}, {"rootfs", 1}, {"tap", 2}} {
		entry := manifest[8+i*104:][:104]
		name, _, _ := strings.Cut(string(entry[:68]), "\x00")
		test.Eq(t, want.name, name)
		test.Eq(t, want.typ, u32(entry[68:]))
		test.Eq(t, make([]byte, 104-72), entry[72:])
	}
}

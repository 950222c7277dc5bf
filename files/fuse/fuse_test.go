// SPDX-License-Identifier: MPL-2.0

package fuse

import (
	"strings"
	"testing"
	"unsafe"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"
)

// TestMessages_HaveKernelSizes compares the sizes with those of Linux 6.1.
func TestMessages_HaveKernelSizes(t *testing.T) {
	for name, sizes := range map[string][2]uintptr{
		"in header":   {unsafe.Sizeof(InHeader{}), InHeaderSize},
		"out header":  {unsafe.Sizeof(OutHeader{}), OutHeaderSize},
		"init out":    {unsafe.Sizeof(InitOut{}), 64},
		"attr":        {unsafe.Sizeof(Attr{}), 88},
		"entry out":   {unsafe.Sizeof(EntryOut{}), 128},
		"attr out":    {unsafe.Sizeof(AttrOut{}), 104},
		"setattr in":  {unsafe.Sizeof(SetattrIn{}), 88},
		"mknod in":    {unsafe.Sizeof(MknodIn{}), 16},
		"rename2 in":  {unsafe.Sizeof(Rename2In{}), 16},
		"create in":   {unsafe.Sizeof(CreateIn{}), 16},
		"create out":  {unsafe.Sizeof(CreateOut{}), 144},
		"release in":  {unsafe.Sizeof(ReleaseIn{}), 24},
		"read in":     {unsafe.Sizeof(ReadIn{}), 40},
		"write in":    {unsafe.Sizeof(WriteIn{}), WriteInSize},
		"statfs out":  {unsafe.Sizeof(StatfsOut{}), 80},
		"fallocate":   {unsafe.Sizeof(FallocateIn{}), 32},
		"lseek in":    {unsafe.Sizeof(LseekIn{}), 24},
		"copy range":  {unsafe.Sizeof(CopyFileRangeIn{}), 56},
		"dirent":      {unsafe.Sizeof(Dirent{}), DirentSize},
		"setxattr in": {unsafe.Sizeof(SetxattrIn{}), 8},
	} {
		must.Eq(t, sizes[1], sizes[0], must.Sprint(name))
	}
}

func TestView_ReturnsNilForAShortMessage(t *testing.T) {
	b := make([]byte, 48)
	in, rest := View[ReadIn](b[:39])
	must.Nil(t, in)
	must.Nil(t, rest)
	in, rest = View[ReadIn](b)
	must.NotNil(t, in)
	must.Len(t, 8, rest)
}

func TestCutString_NeedsANUL(t *testing.T) {
	s, rest := CutString([]byte("one\x00two"))
	must.Eq(t, "one\x00", string(s))
	must.Eq(t, "two", string(rest))
	s, rest = CutString([]byte("two"))
	must.Nil(t, s)
	must.Nil(t, rest)
}

func TestCheckName_AllowsOnlySingleComponents(t *testing.T) {
	for name, want := range map[string]unix.Errno{
		"a\x00":                           0,
		"...\x00":                         0,
		strings.Repeat("a", 255) + "\x00": 0,
		strings.Repeat("a", 256) + "\x00": unix.ENAMETOOLONG,
		"":                                unix.EINVAL,
		"\x00":                            unix.EINVAL,
		"a":                               unix.EINVAL,
		".\x00":                           unix.EINVAL,
		"..\x00":                          unix.EINVAL,
		"/\x00":                           unix.EINVAL,
		"a/b\x00":                         unix.EINVAL,
		"../a\x00":                        unix.EINVAL,
		"a\x00b\x00":                      unix.EINVAL,
	} {
		must.Eq(t, want, CheckName([]byte(name)), must.Sprintf("%q", name))
	}
}

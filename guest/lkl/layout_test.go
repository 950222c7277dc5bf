// SPDX-License-Identifier: MPL-2.0

package lkl

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shoenig/test"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// A layout is a structure that system calls read or write, as the kernel's exported headers
// and libc's define it. The kernel exports no header for a few others, such as msghdr and
// linux_dirent64: they are the same on all machines.
type layout struct {
	kernelHeader, kernelType string
	header, libcType         string // the type is the kernel's if it is empty
	size                     sizeRule
	// fields are names, or KERNEL=LIBC if they differ. Those that begin with @ may have
	// another size: libc's is that of a standard, and the rest is padding.
	fields string
}

// A sizeRule compares the sizes of a structure.
type sizeRule int

const (
	equalSize  sizeRule = iota
	libcLarger          // libc's has room for more, which the kernel does not touch
	anySize             // the call passes the size
)

// arrays returns the definitions of an array of sizes and offsets, for both sides.
func (l *layout) arrays(name string) (kernel, libc string) {
	libcType := l.libcType
	if libcType == "" {
		libcType = l.kernelType
	}
	kernel = fmt.Sprintf("const unsigned long kernel_%s[] = { sizeof(%s)", name, l.kernelType)
	libc = fmt.Sprintf("const unsigned long libc_%s[] = { sizeof(%s)", name, libcType)
	for field := range strings.FieldsSeq(l.fields) {
		field, offsetOnly := strings.CutPrefix(field, "@")
		ours, theirs, found := strings.Cut(field, "=")
		if !found {
			theirs = ours
		}
		member := func(typ, name string) string {
			if offsetOnly {
				return fmt.Sprintf(", __builtin_offsetof(%s, %s), 0", typ, name)
			}
			return fmt.Sprintf(", __builtin_offsetof(%s, %s), sizeof(((%s *)0)->%s)", typ, name, typ, name)
		}
		kernel, libc = kernel+member(l.kernelType, ours), libc+member(libcType, theirs)
	}
	return kernel + " };\n", libc + " };\n"
}

func includes(headers string) string {
	text := "#define _GNU_SOURCE\n"
	for h := range strings.FieldsSeq(headers) {
		text += "#include <" + h + ".h>\n"
	}
	return text
}

// measureLayouts returns the sizes and offsets of all layouts. Each structure has two source files,
// because the headers of the kernel and of libc define the same names.
func measureLayouts(t *testing.T) [][2][]string {
	t.Helper()
	dir := t.TempDir()
	args := []string{"-target", "native", "-o", filepath.Join(dir, "program")}
	write := func(name, text string) {
		path := filepath.Join(dir, name)
		must.NoError(t, os.WriteFile(path, []byte(text), 0o644))
		args = append(args, path)
	}
	main := "#include <stdio.h>\n#define PRINT(a) for (int i = 0; i < (int)(n / sizeof(long)); i++) printf(\" %lu\", a[i]); puts(\"\");\n"
	body := ""
	for i, l := range layouts {
		name := fmt.Sprint(i)
		kernel, libc := l.arrays(name)
		write("kernel"+name+".c", includes(l.kernelHeader)+kernel)
		write("libc"+name+".c", includes(l.header)+libc)
		main += fmt.Sprintf("extern const unsigned long kernel_%s[], libc_%s[];\n", name, name)
		fields := len(strings.Fields(l.fields))
		body += fmt.Sprintf("\tn = %d * sizeof(long);\n\tPRINT(kernel_%s)\n\tPRINT(libc_%s)\n", 1+2*fields, name, name)
	}
	write("main.c", main+"int main(void)\n{\n\tunsigned long n;\n"+body+"\treturn 0;\n}\n")
	out, err := exec.Command(testenv.Guest(t, "lkl-cc"), args...).CombinedOutput()
	must.NoError(t, err, must.Sprintf("%s", out))
	out, err = exec.Command(filepath.Join(dir, "program")).Output()
	must.NoError(t, err)
	lines := strings.Split(strings.TrimRight(string(out), "\n"), "\n")
	must.Len(t, 2*len(layouts), lines)
	var all [][2][]string
	for i := range layouts {
		all = append(all, [2][]string{strings.Fields(lines[2*i]), strings.Fields(lines[2*i+1])})
	}
	return all
}

// The kernel and libc must agree on every structure that crosses between them.
func TestHeaders_KernelAndLibcHaveTheSameLayouts(t *testing.T) {
	for i, got := range measureLayouts(t) {
		l, kernel, libc := layouts[i], got[0], got[1]
		test.Eq(t, kernel[1:], libc[1:], test.Sprintf("%s: offset and size of %s", l.kernelType, l.fields))
		var kernelSize, libcSize int
		_, err := fmt.Sscan(kernel[0]+" "+libc[0], &kernelSize, &libcSize)
		must.NoError(t, err)
		switch l.size {
		case equalSize:
			test.Eq(t, kernelSize, libcSize, test.Sprint(l.kernelType))
		case libcLarger:
			test.Less(t, libcSize, kernelSize, test.Sprint(l.kernelType))
		case anySize:
		}
	}
}

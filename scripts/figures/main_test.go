// SPDX-License-Identifier: MPL-2.0

package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/shoenig/test/must"
)

func TestCCycles(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"a.c": "__attribute__((noreturn)) _Noreturn void first(void)\n{\n\tsecond(1);\n}\n",
		"b.c": "int second(int n)\n{\n\treturn third(n,\n\t\t     2);\n}\n",
		"c.c": "int third(int n,\n\t  int m)\n{\n\tfirst();\n\treturn n;\n}\n",
		"d.c": "static void second(void)\n{\n}\n\nvoid fourth(void)\n{\n\tsecond(); /* not fifth() */\n}\n",
		"e.c": "void fifth(void)\n{\n\tfourth();\n}\n",
	} {
		must.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	got, err := cCycles(dir)
	must.NoError(t, err)
	must.Eq(t, [][]string{{"a.c", "b.c", "c.c"}}, got)
}

func TestReadGo_FindsThisFunction(t *testing.T) {
	functions, files, err := readGo(".")
	must.NoError(t, err)
	must.Len(t, 2, files)
	must.SliceContainsFunc(t, functions, "main.go readGo", func(f function, name string) bool {
		return f.name == name && f.parameters == 1 && f.lines > 20
	})
}

// SPDX-License-Identifier: MPL-2.0

// Figures prints figures on the structure of the sources: the longest functions, the
// most parameters, the longest files, the imports between the packages, and call cycles
// among the C files of a directory.
//
//	go run ./scripts/figures [-c DIRECTORY]
package main

import (
	"cmp"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

const module = "github.com/lkl-nomad/nomad-driver-lkl/"

func main() {
	cDirectory := flag.String("c", "guest/lkl/start", "directory of C files to search for call cycles")
	flag.Parse()
	if err := run(*cDirectory); err != nil {
		fmt.Fprintln(os.Stderr, "figures:", err)
		os.Exit(1)
	}
}

func run(cDirectory string) error {
	functions, files, err := readGo(".")
	if err != nil {
		return err
	}
	printTop("longest functions (lines)", functions, func(f function) int { return f.lines })
	printTop("most parameters", functions, func(f function) int { return f.parameters })
	printTop("longest files (lines)", files, func(f function) int { return f.lines })
	if err := printImports(); err != nil {
		return err
	}
	cycles, err := cCycles(cDirectory)
	if err != nil {
		return err
	}
	fmt.Printf("\ncall cycles of C files in %s: %d\n", cDirectory, len(cycles))
	for _, c := range cycles {
		fmt.Println("  " + strings.Join(c, " "))
	}
	return nil
}

// A function is a Go function outside of the tests, or a file in the list of files.
type function struct {
	name       string
	lines      int
	parameters int
}

// readGo reads all Go files of the tree that are not tests.
func readGo(root string) (functions, files []function, err error) {
	set := token.NewFileSet()
	err = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && (path == "build" || strings.HasPrefix(entry.Name(), ".") && path != root) {
			return fs.SkipDir
		}
		if filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		files = append(files, function{name: path, lines: set.Position(file.End()).Line})
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Body != nil {
				functions = append(functions, function{
					name:       path + " " + f.Name.Name,
					lines:      set.Position(f.End()).Line - set.Position(f.Pos()).Line + 1,
					parameters: f.Type.Params.NumFields(),
				})
			}
		}
		return nil
	})
	return functions, files, err
}

func printTop(title string, list []function, value func(function) int) {
	slices.SortStableFunc(list, func(a, b function) int { return cmp.Compare(value(b), value(a)) })
	fmt.Println(title)
	for _, f := range list[:min(3, len(list))] {
		fmt.Printf("  %4d  %s\n", value(f), f.name)
	}
	fmt.Println()
}

// printImports prints the packages of the module that each command links, with
// their imports of each other. The compiler allows no cycles among them.
func printImports() error {
	out, err := exec.Command("go", "list", "-deps", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "./cmd/...").Output()
	if err != nil {
		return fmt.Errorf("go list: %w", err)
	}
	fmt.Println("imports between the packages")
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		name, ours := strings.CutPrefix(fields[0], module)
		if !ours {
			continue
		}
		var imports []string
		for _, path := range fields[1:] {
			if imported, ours := strings.CutPrefix(path, module); ours {
				imports = append(imports, imported)
			}
		}
		fmt.Printf("  %s: %s\n", name, strings.Join(imports, " "))
	}
	return nil
}

// SPDX-License-Identifier: MPL-2.0

package guest

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/shoenig/test"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// parserProgram is testdata/parsers.c compiled for the host, once for all tests.
var parserProgram struct {
	once sync.Once
	path string
	err  error
}

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "guest")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	parserProgram.path = filepath.Join(dir, "parsers")
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// compileWithSanitizers compiles sources of the guests as a program for the
// host, with the compiler's address and undefined behavior sanitizers.
func compileWithSanitizers(program string, args ...string) error {
	args = append([]string{
		"-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Werror",
		"-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-o", program,
	}, args...)
	if out, err := exec.Command("gcc", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("gcc: %w\n%s", err, out)
	}
	return nil
}

func compileParserProgram(t *testing.T) string {
	t.Helper()
	testenv.Need(t, testenv.Tool("gcc"))
	parserProgram.once.Do(func() {
		parserProgram.err = compileWithSanitizers(parserProgram.path, "-idirafter", "lib/include", "-Ihttpd",
			"testdata/parsers.c", "httpd/http.c", "lib/json.c", "lib/words.c")
	})
	must.NoError(t, parserProgram.err)
	return parserProgram.path
}

// runParser runs one of the parsers on the inputs, and returns the line that it
// prints for each.
func runParser(t *testing.T, program, kind string, inputs []string) []string {
	t.Helper()
	var in bytes.Buffer
	for _, input := range inputs {
		fmt.Fprintf(&in, "%d\n%s", len(input), input)
	}
	cmd := exec.Command(program, kind)
	cmd.Stdin = &in
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	must.NoError(t, err, must.Sprintf("%s", errs.String()))
	lines := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	must.SliceLen(t, len(inputs), lines)
	return lines
}

// mutate inserts, removes or replaces a few random bytes of a text.
func mutate(r *rand.Rand, text, alphabet string) string {
	b := []byte(text)
	for range 1 + r.Intn(4) {
		at := r.Intn(len(b) + 1)
		c := alphabet[r.Intn(len(alphabet))]
		switch {
		case r.Intn(2) == 0 || at == len(b):
			b = append(b[:at], append([]byte{c}, b[at:]...)...)
		case r.Intn(2) == 0:
			b = append(b[:at], b[at+1:]...)
		default:
			b[at] = c
		}
	}
	return string(b)
}

func TestWords_SplitLikeLKLGuests(t *testing.T) {
	program := compileParserProgram(t)
	cases := []struct {
		line  string
		words []string
	}{
		{"", nil},
		{" \t\n ", nil},
		{"a b  c", []string{"a", "b", "c"}},
		{`'a b' "c d"`, []string{"a b", "c d"}},
		{`a\ b \'c \\`, []string{"a b", "'c", `\`}},
		{`'a\'b' "\""`, []string{"a'b", `"`}},
		{`'' "" x''y`, []string{"", "", "xy"}},
		{`a'b "c`, []string{`ab "c`}},
		{`ends\`, []string{`ends\`}},
		{`{"a":"b\"c"}`, []string{`{a:b"c}`}},
	}
	var inputs []string
	for _, c := range cases {
		inputs = append(inputs, c.line)
	}
	for i, line := range runParser(t, program, "words", inputs) {
		var words []string
		for _, field := range strings.Fields(line) {
			word, err := hex.DecodeString(strings.TrimPrefix(field, `"`))
			must.NoError(t, err)
			words = append(words, string(word))
		}
		test.Eq(t, cases[i].words, words, test.Sprint(cases[i].line))
	}
}

func TestWords_SurviveMutatedLines(t *testing.T) {
	program := compileParserProgram(t)
	r := rand.New(rand.NewSource(1))
	inputs := []string{
		strings.Repeat("x", 20000), strings.Repeat("x ", 9000), strings.Repeat("'' ", 5000),
	}
	for range 2000 {
		inputs = append(inputs, mutate(r, `A=b\ c --config '{"a":"b"}' -- "x y" z`, " '\"\\\t{}ab"))
	}
	runParser(t, program, "words", inputs)
}

// flatten adds to pairs what json_read passes to its visitor for a value: the
// path and the text of each string, number and literal.
func flatten(name string, value any, pairs *[]string) {
	under := func(key string) string {
		if name == "" {
			return key
		}
		return name + "." + key
	}
	switch v := value.(type) {
	case map[string]any:
		for key, member := range v {
			flatten(under(key), member, pairs)
		}
	case []any:
		for i, member := range v {
			flatten(under(fmt.Sprint(i)), member, pairs)
		}
	case string:
		*pairs = append(*pairs, name+"="+v)
	case nil:
		*pairs = append(*pairs, name+"=null")
	default:
		*pairs = append(*pairs, name+"="+fmt.Sprint(v))
	}
}

// decodeNameValues decodes the pairs that parsers.c prints for a document.
func decodeNameValues(line string) []string {
	var all []string
	for _, field := range strings.Fields(strings.TrimSuffix(line, "good")) {
		name, text, _ := strings.Cut(field, "=")
		n, _ := hex.DecodeString(name)
		v, _ := hex.DecodeString(text)
		all = append(all, string(n)+"="+string(v))
	}
	return all
}

func TestJSON_AgreesWithGo(t *testing.T) {
	program := compileParserProgram(t)
	const document = `{"gateway":"10.0.0.1","interfaces":[{"type":"rumpfd","name":"tap","ip":"10.0.0.2",` +
		`"masklen":"24","x":[1,-2.5e3,0.1,true,false,null,{},[]]}],"t":"a\n\"\\\/"}`
	r := rand.New(rand.NewSource(1))
	inputs := []string{
		document, ` [ ] `, `["a"]`, `[01]`, `[1.]`, `[-]`, `[1,]`, `{"a" 1}`, `{"a":1,}`, `[nul]`, `[""x]`, `[]x`, ``,
		`{"é\u00e9\ud83d\ude00":"\u4e2d\u007f"}`,
	}
	for range 5000 {
		inputs = append(inputs, mutate(r, document, "{}[]\",:\\e159.-+ abt\n\x01"))
	}
	for i, line := range runParser(t, program, "json", inputs) {
		good := strings.HasSuffix(line, "good")
		if valid := json.Valid([]byte(inputs[i])); good != valid {
			t.Errorf("%q: got %s, valid: %t", inputs[i], line, valid)
		}
		if !good {
			continue
		}
		var value any
		d := json.NewDecoder(strings.NewReader(inputs[i]))
		d.UseNumber()
		must.NoError(t, d.Decode(&value))
		var want []string
		flatten("", value, &want)
		// Of a duplicate name encoding/json keeps only the last value.
		test.SliceContainsAll(t, decodeNameValues(line), want, test.Sprint(inputs[i]))
	}
}

// Invalid escapes are unpaired surrogates, and NUL, which would end a C string.
func TestJSON_RejectsInvalidEscapesAndDeepNesting(t *testing.T) {
	program := compileParserProgram(t)
	inputs := []string{
		`["\ud800"]`, `["\udc00"]`, `["\ud800\ud800"]`, `["\u0000"]`, `["\u12"]`, strings.Repeat("[", 100000), `"text"`, `1`,
	}
	for i, line := range runParser(t, program, "json", inputs) {
		test.Eq(t, "bad", line, test.Sprintf("%.20q", inputs[i]))
	}
}

func TestPrint_AgreesWithHostPrintf(t *testing.T) {
	testenv.Need(t, testenv.Tool("gcc"))
	dir := t.TempDir()
	object, program := filepath.Join(dir, "print.o"), filepath.Join(dir, "formats")
	out, err := exec.Command("gcc", "-c", "-o", object, "-Ilib/include", "-Isolo5/include",
		"-Dprintf=lib_printf", "-Dsnprintf=lib_snprintf", "-Dvsnprintf=lib_vsnprintf",
		"-fno-builtin", "lib/print.c").CombinedOutput()
	must.NoError(t, err, must.Sprintf("%s", out))
	must.NoError(t, compileWithSanitizers(program, "-Wno-format-truncation", "testdata/formats.c", object))
	out, err = exec.Command(program).CombinedOutput()
	must.NoError(t, err, must.Sprintf("%s", out))
}

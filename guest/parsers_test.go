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

// parsers is testdata/parsers.c as a program, made once for all the tests.
var parsers struct {
	once    sync.Once
	program string
	err     error
}

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "guest")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	parsers.program = filepath.Join(dir, "parsers")
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// compile makes an ordinary program of some of the guests' sources, with every
// check that the compiler has.
func compile(program string, args ...string) error {
	args = append([]string{
		"-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Werror",
		"-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-o", program,
	}, args...)
	if out, err := exec.Command("gcc", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("gcc: %w\n%s", err, out)
	}
	return nil
}

func compileParsers(t *testing.T) string {
	t.Helper()
	testenv.Need(t, testenv.Tool("gcc"))
	parsers.once.Do(func() {
		parsers.err = compile(parsers.program, "-idirafter", "lib/include", "-Ihttpd",
			"testdata/parsers.c", "httpd/http.c", "lib/json.c", "lib/words.c")
	})
	must.NoError(t, parsers.err)
	return parsers.program
}

// parse gives the parsers' line for each input.
func parse(t *testing.T, program, kind string, inputs []string) []string {
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

// mutate changes a few bytes of a text, at random.
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

func TestWords_SplitAsTheLKLFlavourDoes(t *testing.T) {
	program := compileParsers(t)
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
	for i, line := range parse(t, program, "words", inputs) {
		var words []string
		for _, field := range strings.Fields(line) {
			word, err := hex.DecodeString(strings.TrimPrefix(field, `"`))
			must.NoError(t, err)
			words = append(words, string(word))
		}
		test.Eq(t, cases[i].words, words, test.Sprint(cases[i].line))
	}
}

func TestWords_TakeAnyLine(t *testing.T) {
	program := compileParsers(t)
	r := rand.New(rand.NewSource(1))
	inputs := []string{
		strings.Repeat("x", 20000), strings.Repeat("x ", 9000), strings.Repeat("'' ", 5000),
	}
	for range 2000 {
		inputs = append(inputs, mutate(r, `A=b\ c --config '{"a":"b"}' -- "x y" z`, " '\"\\\t{}ab"))
	}
	parse(t, program, "words", inputs)
}

// flatten is json_read in Go: what it tells of a value.
func flatten(name string, value any, told *[]string) {
	under := func(key string) string {
		if name == "" {
			return key
		}
		return name + "." + key
	}
	switch v := value.(type) {
	case map[string]any:
		for key, member := range v {
			flatten(under(key), member, told)
		}
	case []any:
		for i, member := range v {
			flatten(under(fmt.Sprint(i)), member, told)
		}
	case string:
		*told = append(*told, name+"="+v)
	case nil:
		*told = append(*told, name+"=null")
	default:
		*told = append(*told, name+"="+fmt.Sprint(v))
	}
}

// told reads what parsers.c prints of a document.
func told(line string) []string {
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
	program := compileParsers(t)
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
	for i, line := range parse(t, program, "json", inputs) {
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
		// Of names that are there twice Go gives only the last.
		test.SliceContainsAll(t, told(line), want, test.Sprint(inputs[i]))
	}
}

// Halves of a pair, and NUL, which would cut a string short.
func TestJSON_RefusesWhatIsNoText(t *testing.T) {
	program := compileParsers(t)
	inputs := []string{
		`["\ud800"]`, `["\udc00"]`, `["\ud800\ud800"]`, `["\u0000"]`, `["\u12"]`, strings.Repeat("[", 100000), `"text"`, `1`,
	}
	for i, line := range parse(t, program, "json", inputs) {
		test.Eq(t, "bad", line, test.Sprintf("%.20q", inputs[i]))
	}
}

func TestPrint_AgreesWithTheHostsPrintf(t *testing.T) {
	testenv.Need(t, testenv.Tool("gcc"))
	dir := t.TempDir()
	object, program := filepath.Join(dir, "print.o"), filepath.Join(dir, "formats")
	out, err := exec.Command("gcc", "-c", "-o", object, "-Ilib/include", "-Isolo5/include",
		"-Dprintf=lib_printf", "-Dsnprintf=lib_snprintf", "-Dvsnprintf=lib_vsnprintf",
		"-fno-builtin", "lib/print.c").CombinedOutput()
	must.NoError(t, err, must.Sprintf("%s", out))
	must.NoError(t, compile(program, "-Wno-format-truncation", "testdata/formats.c", object))
	out, err = exec.Command(program).CombinedOutput()
	must.NoError(t, err, must.Sprintf("%s", out))
}

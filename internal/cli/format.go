// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf8"
)

// duration returns a function that parses a duration for an option.
func duration(into *time.Duration) func(string) error {
	return func(s string) (err error) {
		if *into, err = time.ParseDuration(s); err != nil {
			return errors.New("it must be a duration in hours, minutes or seconds, such as 72h, 5m or 90s")
		}
		return nil
	}
}

// formatAge formats a duration in one unit, such as "3 hours".
func formatAge(d time.Duration) string {
	const day = 24 * time.Hour
	for _, u := range []struct {
		size time.Duration
		name string
	}{{day, "day"}, {time.Hour, "hour"}, {time.Minute, "minute"}} {
		if n := int64(d / u.size); n > 0 {
			return plural(n, u.name)
		}
	}
	return plural(max(0, int64(d/time.Second)), "second")
}

func plural(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.FormatInt(n, 10) + " " + noun + "s"
}

// printable escapes characters that could control a terminal. Names and labels of
// images are chosen by strangers.
func printable(s string) string {
	if utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) < 0 {
		return s
	}
	quoted := strconv.Quote(s)
	return strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`)
}

// writeJSON writes v as indented JSON.
func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// writeTable calls fill with a function that adds a line, whose cells tabs separate,
// and writes the aligned table in one piece.
func writeTable(w io.Writer, fill func(line func(format string, args ...any))) error {
	var text bytes.Buffer
	t := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fill(func(format string, args ...any) { fmt.Fprintf(t, format+"\n", args...) })
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := w.Write(text.Bytes())
	return err
}

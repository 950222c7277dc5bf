// SPDX-License-Identifier: MPL-2.0

// Package problems collects the mistakes in a configuration, so that a user
// sees all of them at once.
package problems

import (
	"fmt"
	"strings"
)

// A List collects mistakes. The zero value is an empty list.
type List struct {
	errs []error
}

// Addf adds a mistake in a field, such as "args[2]". The message may wrap
// errors with %w. An empty field adds the message alone.
func (l *List) Addf(field, format string, args ...any) {
	err := fmt.Errorf(format, args...)
	if field != "" {
		err = fmt.Errorf("%s: %w", field, err)
	}
	l.errs = append(l.errs, err)
}

// Err returns nil for an empty list, and otherwise one error that wraps every
// mistake. Its text is a single line, because Nomad shows errors in one line.
func (l *List) Err() error {
	if len(l.errs) == 0 {
		return nil
	}
	return joined(l.errs)
}

// Errs returns the mistakes, for output with one mistake on each line.
func (l *List) Errs() []error { return l.errs }

type joined []error

func (j joined) Error() string {
	texts := make([]string, len(j))
	for i, err := range j {
		texts[i] = err.Error()
	}
	return strings.Join(texts, "; ")
}

func (j joined) Unwrap() []error { return j }

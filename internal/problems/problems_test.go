// SPDX-License-Identifier: MPL-2.0

package problems_test

import (
	"errors"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/problems"
)

func TestList_EmptyListIsNoError(t *testing.T) {
	var l problems.List
	must.NoError(t, l.Err())
}

func TestList_ReportsEveryMistakeInOneLine(t *testing.T) {
	errNumber := errors.New("not a number")
	var l problems.List
	l.Addf("memory", "%d MiB is too little", 3)
	l.Addf("user", "%q: %w", "bob", errNumber)
	l.Addf("", "no network")

	err := l.Err()
	must.EqError(t, err, `memory: 3 MiB is too little; user: "bob": not a number; no network`)
	must.ErrorIs(t, err, errNumber)
	must.Len(t, 3, l.Errs())
}

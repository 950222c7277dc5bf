// SPDX-License-Identifier: MPL-2.0

//go:build !amd64

package hostcheck

import (
	"context"
	"errors"
	"runtime"
)

func runGuest(context.Context) error {
	return errors.New("no tender runs on " + runtime.GOARCH)
}

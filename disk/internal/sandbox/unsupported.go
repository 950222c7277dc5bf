// SPDX-License-Identifier: MPL-2.0

//go:build !(linux && amd64)

package sandbox

import (
	"fmt"
	"os/exec"
	"runtime"
)

type loan struct{}

func (*loan) giveBack() error { return nil }

func launch(*exec.Cmd, Options, method) (*loan, error) {
	return nil, fmt.Errorf("%w: the processor is %s instead of amd64", ErrUnsupported, runtime.GOARCH)
}

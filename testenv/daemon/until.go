// SPDX-License-Identifier: MPL-2.0

package daemon

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/shoenig/test/wait"
)

// Final marks an error of a condition after which Until stops waiting.
func Final(err error) error { return final{err} }

type final struct{ error }

func (f final) Unwrap() error { return f.error }

// Until is must.Wait for code that is not a test, and that a context can end. It
// calls condition until the condition returns nil or a Final error, or until the
// time is over.
func Until(ctx context.Context, limit time.Duration, condition func() error) error {
	var err error
	timeout := wait.InitialSuccess(wait.Timeout(limit), wait.Gap(50*time.Millisecond), wait.BoolFunc(func() bool {
		if err = ctx.Err(); err != nil {
			return true
		}
		err = condition()
		return err == nil || errors.As(err, &final{})
	})).Run()
	if timeout != nil {
		return fmt.Errorf("%w after %s: %w", timeout, limit, err)
	}
	return err
}

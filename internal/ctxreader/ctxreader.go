// SPDX-License-Identifier: MPL-2.0

// Package ctxreader limits the time of reading a long file.
package ctxreader

import (
	"context"
	"io"
)

// New returns a reader that reads from r until the context ends. It then returns the
// cause.
func New(ctx context.Context, r io.Reader) io.Reader { return &reader{ctx, r} }

type reader struct {
	ctx context.Context
	r   io.Reader
}

func (c *reader) Read(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.r.Read(p)
}

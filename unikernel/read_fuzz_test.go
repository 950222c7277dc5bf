// SPDX-License-Identifier: MPL-2.0

package unikernel

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/shoenig/test/must"
)

// maxHeaders is how much Read may read of a file: its headers.
const maxHeaders = 16 << 10

// A countingReader fails the test when it is asked for what no header holds.
type countingReader struct {
	t    *testing.T
	r    *bytes.Reader
	read int
}

func (c *countingReader) ReadAt(p []byte, off int64) (int, error) {
	c.read += len(p)
	must.LessEq(c.t, c.r.Size(), off+int64(len(p)))
	must.LessEq(c.t, maxHeaders, c.read)
	n, err := c.r.ReadAt(p, off)
	if err != nil && !errors.Is(err, io.EOF) {
		c.t.Errorf("read %d bytes at %d: %v", len(p), off, err)
	}
	return n, err
}

func FuzzRead(f *testing.F) {
	f.Add(helloSpec().build())
	f.Add(lklSpec().build())
	f.Add(helloSpec(numbered(63)...).build())
	hvt := helloSpec(Device{"service0", Net})
	hvt.headers[helloABI].content = abiNote(TargetHVT, 1)
	f.Add(hvt.build())
	wide := helloSpec()
	wide.headers[helloZero].addr, wide.headers[helloZero].align = 1<<40, 1<<40
	f.Add(wide.build())
	f.Add(withNote(featuresNote(0x7f)).build())
	f.Add(withNote(featuresNote(0xffffffff, 1)).build())

	sentinels := []error{ErrNotSolo5, ErrMachine, ErrTarget, ErrABI, ErrManifest, ErrInvalid}
	f.Fuzz(func(t *testing.T, content []byte) {
		m, err := Read(&countingReader{t: t, r: bytes.NewReader(content)}, int64(len(content)))
		if err != nil {
			for _, s := range sentinels {
				if errors.Is(err, s) {
					return
				}
			}
			t.Fatalf("an error without a sentinel: %v", err)
		}
		checkImage(t, m, uint64(len(content)))
	})
}

// checkImage checks what a tender relies on.
func checkImage(t *testing.T, m *Info, size uint64) {
	must.NotEq(t, "", m.Target.String())
	must.Between(t, 1, m.ABI, 2)
	must.SliceNotEmpty(t, m.Segments)
	last := uint64(MinLoadAddress)
	for _, s := range m.Segments {
		must.False(t, s.Write && s.Exec)
		must.Eq(t, 0, s.Start%PageSize)
		must.Eq(t, 0, s.End%PageSize)
		must.LessEq(t, s.Start, last, must.Sprint("segments overlap"))
		must.LessEq(t, s.Addr, s.Start)
		must.LessEq(t, s.MemSize, s.FileSize)
		must.LessEq(t, s.End-s.Addr, s.MemSize)
		must.LessEq(t, size, s.FileSize)
		must.LessEq(t, size-s.FileSize, s.Offset)
		last = s.End
	}
	must.Eq(t, last, m.End)
	must.LessEq(t, 32, len(m.Features.Names()))
	must.LessEq(t, MaxDevices, len(m.Manifest))
	for _, d := range m.Manifest {
		must.True(t, ValidDeviceName(d.Name))
		found, ok := m.Device(d.Name)
		must.True(t, ok)
		must.Eq(t, d, found)
	}
	if need := m.MinMemory(); need >= m.End && m.Entry < need {
		must.NoError(t, m.Fits(need))
	}
	if m.Fits(m.End) == nil {
		must.Less(t, m.End, m.Entry)
	}
}

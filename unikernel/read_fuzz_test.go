// SPDX-License-Identifier: MPL-2.0

package unikernel

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/shoenig/test/must"
)

// maxHeaders is the maximum that Read reads of a file, in bytes.
const maxHeaders = 16 << 10

// A countingReader fails the test if Read reads too much or beyond the end.
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
	f.Add(helloFile().bytes())
	f.Add(legacyFile().bytes())
	f.Add(helloFile(numbered(63)...).bytes())
	hvt := helloFile(Device{"service0", Net})
	hvt.Programs[helloABI].Content = abiNote(TargetHVT, 1)
	f.Add(hvt.bytes())
	wide := helloFile()
	wide.Programs[helloZero].Vaddr, wide.Programs[helloZero].Align = 1<<40, 1<<40
	f.Add(wide.bytes())
	f.Add(withNote(featuresWords(0x7f)).bytes())
	f.Add(withNote(featuresWords(0xffffffff, 1)).bytes())

	sentinels := []error{ErrNotSolo5, ErrMachine, ErrTarget, ErrABI, ErrManifest, ErrInvalid}
	f.Fuzz(func(t *testing.T, content []byte) {
		m, err := Read(&countingReader{t: t, r: bytes.NewReader(content)}, int64(len(content)))
		if err != nil {
			for _, s := range sentinels {
				if errors.Is(err, s) {
					return
				}
			}
			t.Fatalf("error without a sentinel: %v", err)
		}
		checkInfo(t, m, uint64(len(content)))
	})
}

// checkInfo checks the properties that a tender relies on.
func checkInfo(t *testing.T, m *Info, size uint64) {
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

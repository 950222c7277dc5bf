// SPDX-License-Identifier: MPL-2.0

package unikernel

import (
	"encoding/binary"
	"math"
	"testing"

	"github.com/shoenig/test/must"
)

// helloPreempt is valid for helloFile with withSignalStack.
var helloPreempt = Preempt{Handler: 0x100030, Stack: 0x105000, StackSize: 0x4000}

// preemptNote returns the note of a guest with FeaturePreempt.
func preemptNote(p Preempt) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(FeaturePreempt))
	for _, word := range []uint64{p.Handler, p.Stack, p.StackSize} {
		b = binary.LittleEndian.AppendUint64(b, word)
	}
	return lklNote(featuresNote, b)
}

// withPreempt returns a kernel file with this note and with memory from 0x104000 to
// 0x109000.
func withPreempt(p Preempt) *testFile {
	f := withNote(preemptNote(p))
	f.Programs[helloZero].Memsz = 0x5000
	return f
}

func TestRead_ReadsPreempt(t *testing.T) {
	info, err := read(withPreempt(helloPreempt).bytes())
	must.NoError(t, err)
	must.Eq(t, &helloPreempt, info.Preempt)

	info, err = read(withNote(featuresWords(^uint32(FeaturePreempt), 0, 1, 2, 3, 4, 5, 6)).bytes())
	must.NoError(t, err)
	must.Nil(t, info.Preempt)
}

// The tender gives these addresses to the host's kernel, which does not check them.
func TestRead_RefusesInvalidPreempt(t *testing.T) {
	for name, change := range map[string]func(*Preempt){
		"handler 0":                     func(p *Preempt) { p.Handler = 0 },
		"handler in the data":           func(p *Preempt) { p.Handler = 0x102000 },
		"handler before the code":       func(p *Preempt) { p.Handler = 0xfffff },
		"handler after the code":        func(p *Preempt) { p.Handler = 0x101234 },
		"handler in the launcher":       func(p *Preempt) { p.Handler = 1 << 40 },
		"handler in the host's kernel":  func(p *Preempt) { p.Handler = 0xffffffff81000000 },
		"handler not canonical":         func(p *Preempt) { p.Handler = 1 << 47 },
		"stack in the code":             func(p *Preempt) { p.Stack, p.StackSize = 0x100000, minSignalStack },
		"stack before the data":         func(p *Preempt) { p.Stack = 0x103fff },
		"stack beyond the data":         func(p *Preempt) { p.Stack = 0x105001 },
		"stack after the data":          func(p *Preempt) { p.Stack = 0x109000 },
		"stack in the boot information": func(p *Preempt) { p.Stack = 0x11000 },
		"stack too small":               func(p *Preempt) { p.StackSize = minSignalStack - 1 },
		"stack too large":               func(p *Preempt) { p.StackSize = math.MaxUint64 },
		"stack that wraps around":       func(p *Preempt) { p.StackSize = -p.Stack },
	} {
		t.Run(name, func(t *testing.T) {
			p := helloPreempt
			change(&p)
			_, err := read(withPreempt(p).bytes())
			must.ErrorIs(t, err, ErrInvalid)
		})
	}
	t.Run("note too short", func(t *testing.T) {
		_, err := read(withNote(featuresWords(uint32(FeaturePreempt), 0, 0x100030, 0, 0x105000, 0, 0x4000)).bytes())
		must.ErrorIs(t, err, ErrInvalid)
		must.ErrorContains(t, err, "has 28 bytes, but the feature preempt needs 32")
	})
}

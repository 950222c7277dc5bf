// SPDX-License-Identifier: MPL-2.0

package bpf_test

import (
	"encoding/binary"
	"testing"

	"github.com/shoenig/test/must"
	xbpf "golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/bpf"
)

const (
	no  = 1
	yes = 2
)

// run runs a program in the virtual machine of golang.org/x/net/bpf. That
// machine loads big-endian words, as a packet filter does.
func run(t *testing.T, p bpf.Program, first, second uint32) int {
	t.Helper()
	var raw []xbpf.RawInstruction
	for _, i := range p {
		raw = append(raw, xbpf.RawInstruction{Op: i.Code, Jt: i.Jt, Jf: i.Jf, K: i.K})
	}
	instructions, ok := xbpf.Disassemble(raw)
	must.True(t, ok)
	machine, err := xbpf.NewVM(instructions)
	must.NoError(t, err)
	data := binary.BigEndian.AppendUint32(nil, first)
	data = binary.BigEndian.AppendUint32(data, second)
	data = append(data, 0, 0, 0, 0)
	result, err := machine.Run(data)
	must.NoError(t, err)
	return result
}

func TestProgram_ConditionsCompareUnsigned(t *testing.T) {
	const high = 0x80000000
	cases := []struct {
		name      string
		c         bpf.Condition
		holds     []uint32
		holdsNot  []uint32
		secondIsX uint32
	}{
		{"equal", bpf.Equal(7), []uint32{7}, []uint32{6, 8}, 0},
		{"not equal", bpf.NotEqual(7), []uint32{6, 8}, []uint32{7}, 0},
		{"at least", bpf.AtLeast(high), []uint32{high, high + 1}, []uint32{0, high - 1}, 0},
		{"below", bpf.Below(high), []uint32{0, high - 1}, []uint32{high, high + 1}, 0},
		{"above", bpf.Above(high), []uint32{high + 1}, []uint32{0, high}, 0},
		{"any bit", bpf.AnyBit(6), []uint32{2, 4, 7}, []uint32{0, 1, 8}, 0},
		{"at least X", bpf.AtLeastX(), []uint32{high, high + 1}, []uint32{high - 1}, high},
		{"above X", bpf.AboveX(), []uint32{high + 1}, []uint32{high}, high},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			// A body of over 255 instructions needs another kind of jump.
			for _, padding := range []int{0, 253, 254, 255, 300} {
				var p bpf.Program
				p.Set(c.secondIsX)
				p.CopyToX()
				p.Load(bpf.Number)
				p.When(c.c, func(p *bpf.Program) {
					for range padding {
						p.CopyToX()
					}
					p.Return(yes)
				})
				p.Return(no)
				for _, v := range c.holds {
					must.Eq(t, yes, run(t, p, v, 0), must.Sprint(v, padding))
				}
				for _, v := range c.holdsNot {
					must.Eq(t, no, run(t, p, v, 0), must.Sprint(v, padding))
				}
			}
		})
	}
}

func TestProgram_LoadsAndSubtracts(t *testing.T) {
	var p bpf.Program
	p.Load(bpf.Arch)
	p.CopyToX()
	p.Load(bpf.Number)
	p.SubtractX()
	p.ReturnIf(bpf.Equal(5), yes)
	p.Return(no)
	must.Eq(t, yes, run(t, p, 8, 3))
	must.Eq(t, no, run(t, p, 8, 4))
}

func TestOffsets_AreThoseOfSeccompData(t *testing.T) {
	must.Eq(t, 16, bpf.Low(0))
	must.Eq(t, 20, bpf.High(0))
	must.Eq(t, 40, bpf.Low(3))
	must.Eq(t, 44, bpf.High(3))
}

func TestProgram_EncodesSockFilter(t *testing.T) {
	p := bpf.Program{{Code: 0x1234, Jt: 5, Jf: 6, K: 0x789abcde}, {Code: unix.BPF_RET, K: 1}}
	must.Eq(t, []byte{0x34, 0x12, 5, 6, 0xde, 0xbc, 0x9a, 0x78, 6, 0, 0, 0, 1, 0, 0, 0}, p.Encode())
}

func TestProgram_ComparesWordsOfPacketWithValues(t *testing.T) {
	for _, count := range []int{0, 1, 2, 300} {
		var p bpf.Program
		var values [][]uint32
		for i := range uint32(count) {
			values = append(values, []uint32{i, 1000 + i})
		}
		p.ReturnUnlessOneOf(0, values, no)
		p.Return(yes)
		for i := range uint32(count) {
			must.Eq(t, yes, run(t, p, i, 1000+i))
			must.Eq(t, no, run(t, p, i, 1000+i+1))
			must.Eq(t, no, run(t, p, i+1, 1000+i))
		}
		must.Eq(t, no, run(t, p, uint32(count), 1000+uint32(count)))
	}
}

func TestProgram_LoadsPartsOfPacket(t *testing.T) {
	load := map[string]func(*bpf.Program){
		"half":         func(p *bpf.Program) { p.LoadHalf(1) },
		"byte":         func(p *bpf.Program) { p.LoadByte(7) },
		"half after X": func(p *bpf.Program) { p.LoadHeaderLength(3); p.LoadHalfAfterX(2) }, // X is 4 * 1
		"byte after X": func(p *bpf.Program) { p.LoadHeaderLength(3); p.LoadByteAfterX(1) },
	}
	for name, want := range map[string]int{"half": 0x2233, "byte": 0x88, "half after X": 0x7788, "byte after X": 0x66} {
		var p bpf.Program
		load[name](&p)
		p.ReturnIf(bpf.Equal(uint32(want)), yes)
		p.Return(no)
		must.Eq(t, yes, run(t, p, 0x11223341, 0x55667788), must.Sprint(name))
	}
}

func TestProgram_WhenOneOfContinuesAfterItsBody(t *testing.T) {
	var p bpf.Program
	p.WhenOneOf(0, [][]uint32{{1}, {2}}, func(p *bpf.Program) {
		p.Load(4)
		p.ReturnIf(bpf.Equal(7), yes)
	})
	p.LoadLength()
	p.ReturnIf(bpf.NotEqual(12), yes) // see run
	p.Return(no)
	p.ReplaceReturn(no, 3)
	for _, first := range []uint32{1, 2} {
		must.Eq(t, yes, run(t, p, first, 7))
		must.Eq(t, 3, run(t, p, first, 8))
	}
	must.Eq(t, 3, run(t, p, 3, 7))
}

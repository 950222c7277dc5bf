// SPDX-License-Identifier: MPL-2.0

package lkl

import (
	"fmt"
	"hash/fnv"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/memfd"
	"github.com/lkl-nomad/nomad-driver-lkl/tender"
	"github.com/lkl-nomad/nomad-driver-lkl/tender/spt"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel/cmdline"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel/lkl"
)

// openProbe opens the kernel of testdata/probe.c and attaches its devices. Its root is
// empty.
func openProbe(t *testing.T, memoryMiB uint64) *tender.Guest {
	t.Helper()
	open := func(path string) *os.File {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		must.NoError(t, err)
		t.Cleanup(func() { _ = f.Close() })
		return f
	}
	g := &tender.Guest{Kernel: open(compileGuest(t, "probe.c")), Memory: memoryMiB << 20}
	stat, err := g.Kernel.Stat()
	must.NoError(t, err)
	g.Info, err = unikernel.Read(g.Kernel, stat.Size())
	must.NoError(t, err)
	image := open(buildImage(t, 16, nil))
	g.Devices = append(g.Devices, tender.Device{
		Name: "rootfs", Type: unikernel.Block, File: image, Capacity: 16 << 20, BlockSize: 512,
	})
	for _, name := range []string{"tap", "control"} {
		_, theirs := socketPair(t)
		t.Cleanup(func() { _ = theirs.Close() })
		g.Devices = append(g.Devices, tender.Device{
			Name: name, Type: unikernel.Net, File: theirs, MAC: [6]byte{2, 1}, MTU: 1500,
		})
	}
	return g
}

// runWithFile runs a guest with a command line in a file, and returns its console.
func runWithFile(t *testing.T, g *tender.Guest, line string) string {
	t.Helper()
	file, err := memfd.New("command-line", []byte(line))
	must.NoError(t, err)
	defer file.Close()
	g.CommandLineFile, g.CommandLineSize = file, uint64(len(line))
	r, w, err := os.Pipe()
	must.NoError(t, err)
	defer r.Close()
	g.Console = w
	p, err := spt.Start(g, tender.Jail{})
	must.NoError(t, w.Close())
	must.NoError(t, err)
	out, err := io.ReadAll(r)
	must.NoError(t, err)
	exit, err := p.Wait()
	must.NoError(t, err)
	must.Eq(t, tender.Exit{}, exit, must.Sprint(string(out)))
	return string(out)
}

// digest is the output of the probe's command of this name.
func digest(env map[string]string, args []string) string {
	sum := fnv.New64a()
	add := func(word string) { _, _ = sum.Write(append([]byte(word), 0)) } // never fails
	for _, a := range args {
		add(a)
	}
	for _, name := range slices.Sorted(maps.Keys(env)) {
		add(name + "=" + env[name])
	}
	return fmt.Sprintf("digest of %d arguments and %d variables: %016x\n", len(args), len(env), sum.Sum64())
}

func TestCommandLine_LongOnesArriveByteExact(t *testing.T) {
	const kib = 1 << 10
	const awkward = "it's \"quoted\" \\ and\na line\tor two\v\f\r, ä€😀 \xff\x01 $HOME `*`"
	repeat := func(text string, size int) string { return strings.Repeat(text, size/len(text)+1)[:size] }
	megabyte := map[string]string{"LARGE": repeat(awkward, 128*kib), "EMPTY": ""}
	for i := range 1024 - 128 {
		megabyte[fmt.Sprintf("VARIABLE_%04d", i)] = repeat(awkward, kib-14)
	}
	manyArgs := []string{"digest"}
	for i := range 100_000 {
		manyArgs = append(manyArgs, repeat(fmt.Sprint(i), i%8))
	}
	for name, c := range map[string]struct {
		memoryMiB uint64
		env       map[string]string
		args      []string
	}{
		"just too long for the boot information": {16, nil, []string{"digest", repeat("x", cmdline.MaxLength-20)}},
		"an environment of 1 MiB":                {16, megabyte, []string{"digest", ""}},
		"an argument of 128 KiB":                 {16, nil, []string{"digest", repeat(awkward, 128*kib)}},
		"many arguments":                         {16, nil, manyArgs},
		"2 MiB of escapes":                       {24, map[string]string{"BLANKS": repeat(" ", 2*kib*kib-32)}, []string{"digest"}},
		"a million arguments":                    {68, nil, append([]string{"digest"}, strings.Split(repeat("a", kib*kib), "")...)},
	} {
		t.Run(name, func(t *testing.T) {
			g := openProbe(t, c.memoryMiB)
			line, err := lkl.CommandLine(g.Info, &lkl.Config{}, c.env, c.args)
			must.NoError(t, err)
			must.Greater(t, cmdline.MaxLength-200, len(line))
			must.Eq(t, digest(c.env, c.args), runWithFile(t, g, line))
		})
	}
}

// The configuration stays valid after the guest has freed its command line.
func TestCommandLine_LongConfigurationWorks(t *testing.T) {
	g := openProbe(t, 32)
	config := `{"workdir":"/tmp","uid":"7","gid":"8","hostname":"long","unused":"` + strings.Repeat("y", 20_000) + `"}`
	line := strings.Repeat("x", 20_000) + "=1 --config " + escapeWord(config) + " -- identity"
	must.StrContains(t, runWithFile(t, g, line), "uid 7 gid 8 groups 1 directory /tmp host long\n")
}

// The memory of a command line serves the program once the program has its own copy.
func TestCommandLine_ReturnsItsMemory(t *testing.T) {
	free := func(size int) (kb int) {
		g := openProbe(t, 64)
		out := runWithFile(t, g, "X="+strings.Repeat("x", size)+" --config {} -- file /proc/meminfo")
		_, rest, found := strings.Cut(out, "MemTotal:")
		must.True(t, found, must.Sprint(out))
		_, err := fmt.Sscan(rest, &kb)
		must.NoError(t, err)
		return kb
	}
	small, large := free(10_000), free(4<<20-100)
	must.Between(t, small-64, large, small+64)
}

func TestCommandLine_RunPassesLongOnes(t *testing.T) {
	env := map[string]string{}
	s := guestSpec{config: map[string]any{}, args: []string{"digest"}}
	for i := range 100 {
		name := fmt.Sprintf("V%02d", i)
		env[name] = strings.Repeat("it's ", 1000)
		s.env = append(s.env, name+"="+env[name])
	}
	lines, status := runGuest(t, s)
	must.Eq(t, 0, status, must.Sprint(lines))
	must.Eq(t, []string{strings.TrimSuffix(digest(env, s.args), "\n")}, lines)
}
